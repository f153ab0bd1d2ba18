-- Grain: one row per slice: how much of it there is. {slice} is filled in.
select
    slice, sum(judgments)::bigint as judgments, any_value(comparisons) as comparisons, count(annotator) as annotators,
    coalesce(max(judgments) filter (annotator is not null), 0) as largest
from (select {slice} as slice, annotator, count(*) as judgments from votes group by all)
join (select {slice} as slice, count(distinct comparison) as comparisons from votes group by all) using (slice)
where slice is not null
group by slice
order by slice

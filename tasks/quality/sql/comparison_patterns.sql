-- Grain: one row per slice of whole comparisons and pattern of counts: how many comparisons have these counts. {slice} is filled in.
select {slice} as slice, n_a, n_tie, n_b, count(*) as comparisons
from counted
where slice is not null
group by all
order by all

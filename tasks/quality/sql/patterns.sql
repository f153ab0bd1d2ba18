-- Grain: one row per slice and pattern of counts: how many comparisons have these counts.
-- {slice} and {rows}, a table of judgments with a condition, are filled in.
select slice, n_a, n_tie, n_b, count(*) as comparisons
from (
    select {slice} as slice, count_if(choice = 1) as n_a, count_if(choice = 0) as n_tie, count_if(choice = -1) as n_b
    from {rows} and slice is not null
    group by comparison, slice
)
group by all
order by all

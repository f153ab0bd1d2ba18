-- Grain: one row per night, kind of slice, slice and figure of feedback quality.
-- Key: night, slice_kind, slice, figure

-- night: the night
-- began: when it began, in UTC
-- recipe: name of the recipe
-- slice_kind: what the slice is a part by
-- slice: the slice
-- figure: what was measured, see `docs/glossary.md`
-- value: the figure
-- low: lower end of its 95 % interval
-- high: upper end of the interval
-- n: what the figure rests on
-- change: the figure less that of the night of the same recipe before; null for the first one
select
    s.night, nights.began, nights.recipe, q.slice_kind, q.slice, q.figure, q.value, q.low, q.high, q.n,
    q.value - lag(q.value) over (partition by nights.recipe, q.slice_kind, q.slice, q.figure order by s.night) as change
from stages as s join nights using (night) join all_quality as q using (artifact_id)
where s.kind = 'quality'

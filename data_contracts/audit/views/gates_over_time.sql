-- Grain: one row per night, gate, rule and slice that the rule looked at.
-- Key: night, gate, rule, slice_kind, slice

-- night: the night
-- began: when it began, in UTC
-- recipe: name of the recipe
-- gate: `data gate`, which judges the feedback before anything learns from it, or `gate`, which judges the models
-- rule: name of the rule
-- slice_kind: what the slice is a part by
-- slice: the slice that was looked at; `all` for all together
-- verdict: how it was judged
-- figure: the figure that was judged; by the data gate, for a rule on its change, tonight's less the trailing nights' median
-- low: lower end of its interval
-- high: upper end of the interval
-- threshold: what the figure had to be above, or below for a budget
-- reason: why, in words
with judged as (
    select artifact_id, 'gate' as gate, rule, if(slice = 'all', 'all', 'domain') as slice_kind, slice, verdict, value as figure, low, high, threshold, reason from all_gates
    union all
    select artifact_id, 'data gate', rule, slice_kind, slice, verdict, value, low, high, threshold, reason from all_data_gates
)
select
    s.night, nights.began, nights.recipe, j.gate, j.rule, j.slice_kind, j.slice, j.verdict, j.figure, j.low, j.high, j.threshold, j.reason
from stages as s join nights using (night) join judged as j using (artifact_id)

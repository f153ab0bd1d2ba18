-- Grain: one row per night and rule of its gate.
-- Key: night, rule

-- night: the night
-- began: when it began, in UTC
-- recipe: name of the recipe
-- rule: name of the rule
-- verdict: how it was judged
-- figure: the figure that was judged
-- low: lower end of its interval
-- high: upper end of the interval
-- threshold: what the figure had to be above, or below for a budget
-- reason: why, in words
select s.night, nights.began, nights.recipe, g.rule, g.verdict, g.figure, g.low, g.high, g.threshold, g.reason
from stages as s join nights using (night) join all_gates as g using (artifact_id)
where s.kind = 'gate'

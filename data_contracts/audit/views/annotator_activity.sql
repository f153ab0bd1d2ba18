-- Grain: one row per annotator who is known, kind of annotator, source and slice.
-- Key: annotator_id, annotator_kind, source, slice. Kept: computed when the database is built

-- annotator_id: who judged
-- annotator_kind: `human`, or `model`
-- source: name of the source in the recipe
-- slice: the comparisons' named part of the data
-- n_judgments: judgments that stand
-- n_a: of these, those that prefer response a
-- n_tie: ties
-- n_b: those that prefer response b
-- n_corrected: judgments that stand in a later revision than their first
-- first_judged: the first event time, in UTC
-- last_judged: the last event time, in UTC
-- seconds_spent: seconds spent on them, as far as they are known
select
    annotator_id, annotator_kind, j.source, c.slice, count(*)::bigint as n_judgments, count_if(verdict = 'a')::bigint as n_a,
    count_if(verdict = 'tie')::bigint as n_tie, count_if(verdict = 'b')::bigint as n_b, count_if(revision > 0)::bigint as n_corrected,
    min(event_time) as first_judged, max(event_time) as last_judged, sum(seconds_spent) as seconds_spent
from judgments as j join (select comparison_id, slice from comparisons) as c using (comparison_id)
where annotator_id is not null
group by annotator_id, annotator_kind, j.source, c.slice
order by annotator_id, annotator_kind, j.source, c.slice

-- Grain: one row per judgment of a person that counts: of an annotator's judgments on one comparison the latest, of nobody known every one.
-- Key: judgment_id

-- judgment_id: the judgment
-- comparison_id: the comparison that was judged
-- slice: the comparison's named part of the data
-- source: name of the source in the recipe
-- annotator_id: who judged; null where the source does not tell
-- verdict: the preferred response, or `tie`
-- presented_first: the response that stood first or left
-- preference_strength: ordinal strength of the preference
-- event_time: when the annotator judged, in UTC
-- seconds_spent: seconds that the annotator took
-- n_others: other people's judgments of the comparison
-- others_verdict: what more of the others preferred, a or b; null where neither leads
-- agrees_with_others: whether the verdict is that one; null for a tie, and where the others have none
with latest as (
    select * from judgments
    where annotator_kind = 'human'
    qualify annotator_id is null
        or row_number() over (partition by comparison_id, annotator_id order by event_time desc nulls last, judgment_id desc) = 1
),
counts as (
    select comparison_id, count(*) as n, count_if(verdict = 'a')::bigint as n_a, count_if(verdict = 'b')::bigint as n_b
    from latest group by comparison_id
),
told as (
    select
        l.*, n - 1 as n_others,
        (n_a - (verdict = 'a')::bigint) - (n_b - (verdict = 'b')::bigint) as others_margin,
        case when others_margin > 0 then 'a' when others_margin < 0 then 'b' end as others_verdict
    from latest as l join counts using (comparison_id)
)
select
    t.judgment_id, t.comparison_id, c.slice, t.source, t.annotator_id, t.verdict, t.presented_first, t.preference_strength, t.event_time,
    t.seconds_spent, t.n_others, t.others_verdict, case when t.verdict <> 'tie' then t.verdict = t.others_verdict end as agrees_with_others
from told as t join (select comparison_id, slice from comparisons) as c using (comparison_id)

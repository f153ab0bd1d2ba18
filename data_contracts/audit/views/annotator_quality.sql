-- Grain: one row per annotator who is known, with a judgment that stands: what the lake holds, and what the last night measured.
-- Key: annotator_id, annotator_kind

-- annotator_id: who judged
-- annotator_kind: `human`, or `model`; of models nothing is measured here
-- n_standing: judgments that stand, of all sources
-- n_corrected: of these, those that stand in a later revision than their first
-- n_slices: slices judged in
-- first_judged: the first event time, in UTC
-- last_judged: the last event time, in UTC
-- n_judgments: judgments that counted in the last night's snapshot; null where there was none, as in the columns that follow
-- majority_agreement: share of decided judgments that agree with the majority of the others
-- n_majority: judgments behind it
-- self_agreement: share of pairs of judgments of the same two responses that agree
-- gold_passed_share: share of gold comparisons that were judged as is known
-- n_gold: judgments of gold comparisons
-- presented_first_share: share of decided judgments for the response that stood first
-- longer_preferred_share: share of decided judgments for the longer response
-- tie_share: share of judgments that are a tie
-- median_seconds: seconds per judgment
-- speed_z: how far they are from the annotators' median, in robust standard deviations; negative is fast
-- favoured_model: the model that is favoured or disfavoured most surely
-- favouritism: its win share with the annotator less that with the others
-- reliability: estimated chance that a verdict for a or b names the preferred response
-- reliability_low: lower end of its 95 % interval
-- reliability_high: upper end of the interval
-- weight: weight of each of the judgments in the preferences: 1, or less where a flag and the recipe say so
-- flags: reasons to look, see `docs/glossary.md`
with held as (
    select
        annotator_id, annotator_kind, sum(n_judgments)::bigint as n_standing, sum(n_corrected)::bigint as n_corrected,
        count(distinct slice) as n_slices, min(first_judged) as first_judged, max(last_judged) as last_judged
    from annotator_activity group by annotator_id, annotator_kind
)
select
    h.*, a.n_judgments, a.majority_agreement, a.n_majority, a.self_agreement, a.gold_passed_share, a.n_gold, a.presented_first_share,
    a.longer_preferred_share, a.tie_share, a.median_seconds, a.speed_z, a.favoured_model, a.favouritism,
    r.reliability, r.low as reliability_low, r.high as reliability_high, r.weight, a.flags
from held as h left join annotators as a on a.annotator_id = h.annotator_id and h.annotator_kind = 'human'
left join annotator_reliability as r on r.annotator_id = h.annotator_id and h.annotator_kind = 'human'

-- Grain: one row per kind of slice and slice of the last night, and per annotator as the kind `annotator`.
-- Key: slice_kind, slice

-- slice_kind: what the slice is a part by; `all` for all human judgments together
-- slice: the slice, or the annotator
-- longer_preferred_share: share of decided judgments for the longer response; length and quality are not told apart
-- low: lower end of its 95 % interval; null for an annotator
-- high: upper end of the interval
-- n: decided judgments of responses of unlike length; null for an annotator
-- length_coefficient: of all judgments together, the effect of one standard deviation of the length difference on the log odds of being
--   preferred, with the models' quality held fixed
with shares as (
    select slice_kind, slice, value as longer_preferred_share, low, high, n from quality where figure = 'longer_preferred_share'
    union all
    select 'annotator', annotator_id, longer_preferred_share, null, null, null from annotators
),
coefficients as (select slice_kind, slice, value as length_coefficient from quality where figure = 'length_coefficient')
select shares.*, length_coefficient from shares left join coefficients using (slice_kind, slice)

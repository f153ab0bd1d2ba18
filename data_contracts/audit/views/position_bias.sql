-- Grain: one row per kind of slice and slice of the last night, and per annotator as the kind `annotator`.
-- Key: slice_kind, slice

-- slice_kind: what the slice is a part by; `all` for all human judgments together
-- slice: the slice, or the annotator
-- presented_first_share: share of decided judgments for the response that stood first; 0.5 is no bias
-- low: lower end of its 95 % interval
-- high: upper end of the interval
-- n: decided judgments whose order is known
-- bias: the share less one half
-- beyond_chance: whether the interval leaves out one half
with shares as (
    select slice_kind, slice, value as presented_first_share, low, high, n from quality where figure = 'presented_first_share'
    union all
    select 'annotator', annotator_id, presented_first_share, presented_first_low, presented_first_high, n_presented_first from annotators
)
select *, presented_first_share - 0.5 as bias, low > 0.5 or high < 0.5 as beyond_chance from shares

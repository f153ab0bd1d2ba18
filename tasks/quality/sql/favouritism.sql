-- Grain: one row per annotator and model, of those with {least} judgments or more that others gave, too. A judgment's score for the
-- model is 1, 1/2 or 0; the others' is the mean of theirs on the same comparison. Both in millionths, whose sums are exact. The variance is
-- the larger of the differences' own and of a judgment drawn from the others': each can be none where all agree.
with scored as (
    select
        annotator, comparison, (choice + 1) * 500000 as own,
        round((others_margin / others_n + 1) * 500000)::integer as others
    from votes
    where annotator is not null and others_n > 0
),
sides as (
    select annotator, model_a as model, own, others from scored join compared using (comparison) where model_a <> model_b
    union all
    select annotator, model_b, 1000000 - own, 1000000 - others from scored join compared using (comparison) where model_a <> model_b
),
summed as (
    select
        annotator, model, count(*) as n, sum(own) as own, sum(others) as others,
        sum((own - others)::bigint * (own - others)) as squares, sum(others::bigint * (1000000 - others)) as drawn
    from sides
    group by annotator, model
    having n >= {least}
)
select
    annotator::varchar as annotator_id, model, n, own / n / 1e6 as win_share, others / n / 1e6 as others_win_share,
    (own - others) / n / 1e6 as difference,
    difference / nullif(sqrt(greatest((squares / 1e12 - n * difference ^ 2) / (n - 1), drawn / 1e12 / n, 0) / n), 0) as z
from summed
order by annotator, model

-- Grain: one row per comparison that people judged.
-- Key: comparison_id

-- comparison_id: the comparison
-- slice: its named part of the data
-- n_judgments: judgments that count, see `counted_judgments`
-- n_a: of these, those that prefer response a
-- n_tie: ties
-- n_b: those that prefer response b
-- majority: the verdict, tie included, that most gave; null where two share the first place
-- majority_share: share of the judgments that gave the most frequent verdict
-- n_pairs: pairs of judgments
-- n_agreeing_pairs: pairs that agree; their sum over the sum of the pairs is `raw_agreement`
-- agreement: share of the pairs that agree; null with a single judgment
-- entropy: entropy of the three verdicts' shares, in bits: 0 where all agree, 1.58 where all three are as frequent
-- contested: whether it has two judgments or more, and no verdict more than half of them
with counts as (
    select
        comparison_id, any_value(slice) as slice, count(*)::bigint as n_judgments, count_if(verdict = 'a')::bigint as n_a,
        count_if(verdict = 'tie')::bigint as n_tie, count_if(verdict = 'b')::bigint as n_b
    from counted_judgments group by comparison_id
),
shares as (
    select
        *, greatest(n_a, n_tie, n_b) as most, n_judgments * (n_judgments - 1) // 2 as n_pairs,
        (n_a * (n_a - 1) + n_tie * (n_tie - 1) + n_b * (n_b - 1)) // 2 as n_agreeing_pairs
    from counts
)
select
    comparison_id, slice, n_judgments, n_a, n_tie, n_b,
    case
        when (n_a = most)::int + (n_tie = most)::int + (n_b = most)::int > 1 then null
        when n_a = most then 'a' when n_b = most then 'b' else 'tie'
    end as majority,
    most / n_judgments as majority_share,
    n_pairs, n_agreeing_pairs, n_agreeing_pairs / nullif(n_pairs, 0) as agreement,
    abs(
        coalesce(n_a / n_judgments * log2(nullif(n_a, 0) / n_judgments), 0)
        + coalesce(n_tie / n_judgments * log2(nullif(n_tie, 0) / n_judgments), 0)
        + coalesce(n_b / n_judgments * log2(nullif(n_b, 0) / n_judgments), 0)
    ) as entropy,
    n_judgments > 1 and 2 * most <= n_judgments as contested
from shares

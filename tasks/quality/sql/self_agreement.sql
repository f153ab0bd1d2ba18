-- Grain: one row per annotator who judged the same two responses several times: pairs of such judgments, in all and those in which the
-- same or another response stood first, and how many of them agree. Every judgment that stands counts here.
with twins as (select pair from compared group by pair having count(*) > 1),
turned as (
    select comparison, pair, if(node_a > node_b, -1, 1) as turn, pair in (from twins) as twin
    from compared
    where twin or comparison in (select comparison from repeated)
),
told as (
    select annotator, pair, choice * turn as choice, first * turn as first
    from judged join turned using (comparison)
    where human and annotator is not null
),
several as (select annotator, pair from told group by all having count(*) > 1),
cells as (
    select annotator, pair, choice, first, count(*) as n from told semi join several using (annotator, pair) group by all
),
by_choice as (
    select annotator, pair, choice, sum(n) as n, sum(n) filter (first <> 0) as n_known from cells group by all
),
of_pairs as (
    select annotator, sum(pairs) as n_pairs, sum(pairs_known) as n_known from (
        select annotator, sum(n) * (sum(n) - 1) / 2 as pairs, coalesce(sum(n_known) * (sum(n_known) - 1) / 2, 0) as pairs_known
        from by_choice group by annotator, pair
    ) group by annotator
),
agreeing as (
    select annotator, sum(n * (n - 1) / 2) as n_agreeing, coalesce(sum(n_known * (n_known - 1) / 2), 0) as n_known_agreeing
    from by_choice group by annotator
),
same as (
    select annotator, sum(pairs) as n_same, sum(agreeing) as n_same_agreeing from (
        select annotator, sum(n) * (sum(n) - 1) / 2 as pairs, sum(n * (n - 1) / 2) as agreeing
        from cells where first <> 0 group by annotator, pair, first
    ) group by annotator
)
select
    annotator, n_pairs, n_agreeing, coalesce(n_same, 0) as n_same, coalesce(n_same_agreeing, 0) as n_same_agreeing,
    n_known - coalesce(n_same, 0) as n_swapped, n_known_agreeing - coalesce(n_same_agreeing, 0) as n_swapped_agreeing
from of_pairs join agreeing using (annotator) left join same using (annotator)
order by annotator

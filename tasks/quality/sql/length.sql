-- Grain: one row per two models, length difference (in standard deviations, to hundredths) and counts: how many comparisons have these.
with decided as (
    select model_a, model_b, longer_by, n_a, n_a + n_b as n
    from counted join compared using (comparison)
    where longer_by is not null and n > 0
),
scale as (select sqrt(sum(longer_by::bigint * longer_by) / count(*)) as deviation from decided)
select model_a, model_b, round(longer_by / deviation, 2) as z, n_a, n, count(*) as comparisons
from decided, scale
where deviation > 0
group by all
order by all

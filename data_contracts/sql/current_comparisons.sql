-- Grain: one row per comparison, with everything that is known of it.
-- Reads `every_comparisons`: the rows of a snapshot's batches with `batch`, the batch's place in the snapshot. A later batch repeats
-- a comparison only to fill in what was unknown, so the row with the fewest unknowns is the latest; most have a single row.
with repeated as (select comparison_id from every_comparisons group by comparison_id having count(*) > 1)
select * exclude (batch) from every_comparisons anti join repeated using (comparison_id)
union all by name
select * exclude (batch)
from every_comparisons semi join repeated using (comparison_id)
qualify row_number() over (
    partition by comparison_id
    order by
        (response_a is null)::int + (response_b is null)::int + (model_a is null)::int
        + (model_b is null)::int + (gold_verdict is null)::int + (prompt is null)::int,
        batch desc
) = 1

-- Grain: one row per comparison, with everything that is known of it.
-- Reads `comparisons`: the rows of a snapshot's batches with `batch`, the batch's place in the snapshot. A later batch repeats
-- a comparison only to fill in what was unknown, so the row with the fewest unknowns is the latest.
select * exclude (batch)
from comparisons
qualify row_number() over (
    partition by comparison_id
    order by
        (response_a is null)::int + (response_b is null)::int + (model_a is null)::int
        + (model_b is null)::int + (gold_verdict is null)::int + (prompt is null)::int,
        batch desc
) = 1
order by comparison_id

-- Grain: one row per source and reason for which a row was ever refused.
-- Key: source, reason

-- source: name of the source in the recipe
-- reason: reason code
-- n_rows: how often a row was refused; one that came in several deliveries counts in each
-- n_open: of these, those that still are
-- n_came_again: those that were delivered again just as they had been; they are open there
-- n_settled: those that were settled since: mended, or gone from their file
-- first_refused_at: when the first was refused, in UTC
-- last_refused_at: when the last was refused, in UTC
select
    source, reason, count(*)::bigint as n_rows, count_if(is_open)::bigint as n_open,
    count_if(came_again)::bigint as n_came_again, count_if(not is_open and not came_again)::bigint as n_settled,
    min(refused_at) as first_refused_at, max(refused_at) as last_refused_at
from quarantine_state group by source, reason

-- Grain: one row per source and reason for which a row was ever refused.
-- Key: source, reason

-- source: name of the source in the recipe
-- reason: reason code
-- n_rows: rows that were refused
-- n_open: of these, those that still are
-- n_settled: those that were settled since
-- first_refused_at: when the first was refused, in UTC
-- last_refused_at: when the last was refused, in UTC
select
    source, reason, count(*)::bigint as n_rows, count_if(is_open)::bigint as n_open, count_if(not is_open)::bigint as n_settled,
    min(refused_at) as first_refused_at, max(refused_at) as last_refused_at
from quarantine_state group by source, reason

-- Grain: one row per source row that was ever refused.
-- Key: batch, source, source_file, source_row

-- batch: the batch that it was refused in
-- refused_at: when the batch landed, in UTC
-- source: name of the source in the recipe
-- source_file: name of the file that it was read from
-- source_row: number of the row in its file, counted from 1 without header lines
-- reason: reason code, such as `missing_verdict`
-- is_open: whether it is still refused, and was not settled since
-- came_again: whether it is not open here only because it was delivered again just as it had been, and is open there
-- detail: what exactly was wrong, in words
-- raw: the row as it was read
select s.batch, s.refused_at, s.source, s.source_file, s.source_row, s.reason, s.is_open, s.came_again, r.detail, r.raw
from quarantine_state as s join refused_rows as r using (batch, source, source_file, source_row)

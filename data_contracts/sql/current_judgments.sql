-- Grain: one row per judgment that stands: its latest revision, unless that one takes it back.
-- Reads `judgments`: the rows of a snapshot's batches with `batch`, the batch's place in the snapshot. The batches up to a
-- moment give the judgments as of that moment.
select * exclude (batch)
from judgments
qualify row_number() over (partition by judgment_id order by revision desc, batch desc) = 1 and op = 'assert'
order by judgment_id

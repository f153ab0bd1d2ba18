-- Grain: one row per judgment that stands: its latest revision, unless that one takes it back.
-- Reads `every_judgments`: the rows of a snapshot's batches with `batch`, the batch's place in the snapshot. The batches up to a
-- moment give the judgments as of that moment. A judgment that was never revised has one row, so only the others are ranked.
with revised as (select distinct judgment_id from every_judgments where revision > 0)
select * exclude (batch) from every_judgments anti join revised using (judgment_id) where op = 'assert'
union all by name
select * exclude (batch)
from every_judgments semi join revised using (judgment_id)
qualify row_number() over (partition by judgment_id order by revision desc, batch desc) = 1 and op = 'assert'

-- Grain: one row per night and stage that gave something in it; `nights` has those that ended before any did.
-- Key: night, stage

-- night: the night
-- began: when it began, in UTC
-- recipe: name of the recipe
-- outcome: how the night ended
-- place: the stage's place in the night, from 0
-- stage: what the stage is called in the night
-- kind: kind of its artifact
-- artifact_id: the artifact
-- reused: whether the artifact had been made before
-- seconds: how long the stage took in this night
-- cpu_seconds: processor seconds of the stage in this night, see `stages`; null where the record does not tell them
-- peak_memory: the most that one learning process of it held in memory, in bytes; null where none ran
-- share_of_night: `seconds` as a share of the whole night
-- night_seconds: how long the night took
select
    night, n.began, n.recipe, n.outcome, s.place, s.stage, s.kind, s.artifact_id, s.reused, s.seconds, s.cpu_seconds, s.peak_memory,
    s.seconds / nullif(n.seconds, 0) as share_of_night, n.seconds as night_seconds
from nights as n join stages as s using (night)

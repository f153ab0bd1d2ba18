-- Grain: one row per artifact that was made from an artifact, batch or file, directly or not; it is given by the first digits of its id, or
-- a file by its name. Key: artifact_id. Macro: input

-- depth: steps to it, at least; 1 for one that has it as an input
-- kind: what it is
-- artifact_id: its id
with recursive onward as (
    select 1 as depth, kind, artifact_id from lineage where starts_with(input_id, input)
    union
    select o.depth + 1, l.kind, l.artifact_id from onward as o join lineage as l on l.input_id = o.artifact_id
)
select min(depth) as depth, kind, artifact_id from onward group by kind, artifact_id

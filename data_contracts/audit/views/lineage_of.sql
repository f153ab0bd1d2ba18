-- Grain: one row per artifact, batch or file that an artifact was made from, directly or not; it is given by the first digits of its id.
-- Key: kind, id. Macro: artifact

-- depth: steps back to it, at least; 1 for an input
-- kind: what it is, or `file` for a file from outside
-- id: its artifact id, or the file's name
-- roles: what it was to what was made from it
with recursive back as (
    select 1 as depth, role, input_kind as kind, input_id as id from lineage where starts_with(artifact_id, artifact)
    union
    select b.depth + 1, l.role, l.input_kind, l.input_id from back as b join lineage as l on l.artifact_id = b.id
)
select min(depth) as depth, kind, id, string_agg(distinct role, ', ' order by role) as roles from back group by kind, id

-- Grain: one row per input of an artifact, which is given by the first digits of its id.
-- Key: role. Macro: artifact

-- role: what the input is to it
-- kind: kind of the input, or `file` for one from outside
-- id: the input's artifact id, or the file's name
-- digest: SHA-256 of the input's content
select role, input_kind as kind, input_id as id, input_digest as digest from lineage where starts_with(artifact_id, artifact)

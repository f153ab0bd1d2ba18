-- Grain: one row per comparison that stands now, in canonical orientation, with everything that is known of it.
-- Key: comparison_id

-- comparison_id: the source's own id behind the source's name, or else a hash of prompt and responses
-- prompt_id: hash of the prompt's messages; null while the prompt is unknown
-- slice: named part of the data, such as a domain
-- prompt: the prompt's messages
-- response_a: text of response a
-- response_b: text of response b
-- model_a: name of the model that wrote response a
-- model_b: name of the model that wrote response b
-- gold_verdict: the known verdict of a gold comparison, else null
-- ranking_id: the ranking of several responses that the pair was taken from, else null
-- source: name of the source in the recipe
-- source_file: name of the file that it was read from
-- source_row: number of the row in its file
with every_comparisons as not materialized (
    select r.* replace (b.place as batch) from comparison_revisions as r join batches as b using (batch)
)
select * from ({current_comparisons})

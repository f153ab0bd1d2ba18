-- Grain: one row per duplicate that the last night found: a prompt beside its group's representative, a comparison's two responses, or a
-- prompt that stands in a held-out evaluation set. Key: kind, id, duplicate_of

-- kind: `prompt`, `responses` or `contamination`
-- id: the prompt, or of `responses` the comparison
-- duplicate_of: the group's representative; of `responses` the comparison itself; of `contamination` the evaluation set's name
-- match: `near`, or `identical`, `near_identical` of responses, or `exact`, `near` of contamination
-- similarity: Jaccard similarity of the word n-grams, from 0 to 1
select 'prompt' as kind, prompt_id as id, group_id as duplicate_of, 'near' as match, similarity
from prompt_groups where prompt_id <> group_id
union all
select 'responses', comparison_id, comparison_id, mark, similarity from response_pairs
union all
select 'contamination', prompt_id, evaluation_set, match, similarity from contamination

-- Grain: one row per model, reward model that it learned through, and judgment that it learned from or was selected by. Large: for one model
-- ask `judgments_of_model`. Key: model_id, through_id, judgment_id

-- model_id: a reward model, a held-out judge or a policy
-- kind: what the model is
-- through_id: the reward model or judge that read the preferences: itself, or one that a policy was trained with
-- use: `learned`, or `selected` where the judgment only chose among epochs or updates
-- split: the split of the preferences that the comparison's prompt is in
-- preferences_id: the preferences' artifact
-- snapshot_id: the snapshot that they were made from
-- judgment_id: the judgment, as it stood in the snapshot
-- revision: the revision that stood
-- comparison_id: the comparison that was judged
-- annotator_id: who judged
-- verdict: the verdict
-- weight: weight of the comparison's preference in training
with models as (select * from learned_from)
select * from ({learned_judgments})

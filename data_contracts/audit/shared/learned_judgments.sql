-- Grain: one row per model, reward model that it learned through, and judgment behind a preference that it learned from or was selected by.
-- Reads `models`, some rows of `learned_from`. A judgment counts as it stood in the preferences' snapshot: the latest revision, of an
-- annotator's judgments on one comparison the latest, and none of annotators whom the recipe excluded: as
-- `data_contracts/sql/current_judgments.sql`, `tasks/quality/votes.py` and the weights of `annotator_reliability` have it.
with pinned as (select distinct snapshot_id, annotator_kinds from models),
standing as (
    select p.snapshot_id, p.annotator_kinds, r.*
    from pinned as p
    join snapshot_batches as s using (snapshot_id)
    join judgment_revisions as r using (batch)
    qualify row_number() over (partition by p.snapshot_id, p.annotator_kinds, r.judgment_id order by r.revision desc, s.place desc) = 1
),
counted as (
    select standing.*
    from standing join snapshots using (snapshot_id)
    where op = 'assert' and (sources is null or list_contains(sources, source)) and list_contains(annotator_kinds, annotator_kind)
    qualify annotator_id is null or row_number() over (
        partition by snapshot_id, annotator_kinds, comparison_id, annotator_id order by event_time desc nulls last, judgment_id desc
    ) = 1
)
select
    m.model_id, m.kind, m.through_id, m.use, m.split, m.preferences_id, m.snapshot_id, c.judgment_id, c.revision, c.comparison_id,
    c.annotator_id, c.verdict, p.weight
from models as m
join all_preferences as p on p.artifact_id = m.preferences_id and p.split = m.split and p.weight > 0
join counted as c on c.snapshot_id = m.snapshot_id and c.annotator_kinds = m.annotator_kinds and c.comparison_id = p.comparison_id
left join all_annotator_reliability as r on r.artifact_id = m.aggregation_id and r.annotator_id = c.annotator_id
where coalesce(r.weight, 1) > 0

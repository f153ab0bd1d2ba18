-- Grain: one row per judgment that stood at a moment: its latest revision among those that had landed, unless that one takes it back.
-- Key: judgment_id. Macro: moment

-- judgment_id: the judgment
-- revision: the revision that stood
-- op: `assert`
-- comparison_id: the comparison that was judged
-- annotator_id: who judged; null where the source does not tell
-- annotator_kind: `human`, or `model`
-- verdict: the preferred response in canonical orientation, or `tie`
-- tie_reason: what the source says of a tie
-- preference_strength: ordinal strength of the preference
-- presented_first: the response that stood first or left
-- event_time: when the annotator judged
-- seconds_spent: seconds that the annotator took
-- source: name of the source in the recipe
-- source_file: name of the file that it was read from
-- source_row: number of the row in its file
with every_judgments as not materialized (
    select r.* replace (b.place as batch)
    from judgment_revisions as r join batches as b using (batch)
    where b.ingest_time <= moment::timestamptz
)
select * from ({current_judgments})

-- Grain: one row per judgment that stands now: its latest revision, unless that one takes it back.
-- Key: judgment_id

-- judgment_id: the source's own key, or annotator, comparison and event time, or else content and occurrence number
-- revision: the revision that stands
-- op: `assert`
-- comparison_id: the comparison that was judged
-- annotator_id: who judged; null where the source does not tell
-- annotator_kind: `human`, or `model` for a model that judges
-- verdict: the preferred response in canonical orientation, or `tie`
-- tie_reason: what the source says of a tie, such as `both_bad`
-- preference_strength: ordinal strength of the preference, 0 or more; its direction is the verdict
-- presented_first: the response that stood first or left
-- event_time: when the annotator judged, in UTC
-- seconds_spent: seconds that the annotator took
-- source: name of the source in the recipe
-- source_file: name of the file that it was read from
-- source_row: number of the row in its file, counted from 1 without header lines
with every_judgments as not materialized (
    select r.* replace (b.place as batch) from judgment_revisions as r join batches as b using (batch)
)
select * from ({current_judgments})

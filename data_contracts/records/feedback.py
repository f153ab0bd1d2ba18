"""The records of what comes in: comparisons, judgments, what was refused or found in them, and what is nearly the same."""

import pyarrow as pa

from data_contracts.records.kinds import (
    ANNOTATOR_KINDS,
    EXACT,
    FLOAT,
    IDENTICAL,
    INT,
    MESSAGES,
    NEAR,
    NEAR_IDENTICAL,
    OPS,
    TEXT,
    TIME,
    VERDICTS,
    Column,
    RecordKind,
)

SOURCE_COLUMNS = (
    Column("source", TEXT, "name of the source in the recipe that the row came from"),
    Column("source_file", TEXT, "name of the file that the row was read from"),
    Column("source_row", INT, "number of the row in its file, counted from 1 without header lines"),
)

COMPARISON = RecordKind(
    "comparison",
    grain="one row per prompt with two responses, in canonical orientation",
    key=("comparison_id",),
    columns=(
        Column("comparison_id", TEXT, "the source's own id behind the source's name, or else a hash of prompt and responses"),
        Column("prompt_id", TEXT, "hash of the prompt's messages; null while the prompt is unknown", nullable=True),
        Column("slice", TEXT, "named part of the data, such as a domain"),
        Column("prompt", MESSAGES, "the prompt's messages; null while only the comparison's id is known", nullable=True),
        Column("response_a", TEXT, "text of response a; null while it is unknown", nullable=True),
        Column("response_b", TEXT, "text of response b; null while it is unknown", nullable=True),
        Column("model_a", TEXT, "name of the model that wrote response a", nullable=True),
        Column("model_b", TEXT, "name of the model that wrote response b", nullable=True),
        Column("gold_verdict", TEXT, "the known verdict of a gold comparison, else null", nullable=True, allowed=VERDICTS),
        Column("ranking_id", TEXT, "the ranking of several responses that the pair was taken from, else null", nullable=True),
        *SOURCE_COLUMNS,
    ),
)

JUDGMENT = RecordKind(
    "judgment",
    grain="one row per revision of one annotator's verdict on one comparison",
    key=("judgment_id", "revision"),
    columns=(
        Column("judgment_id", TEXT, "the source's own key, or annotator, comparison and event time, or else content and occurrence number"),
        Column("revision", INT, "0 for the first version of the judgment; a correction or retraction has a higher number"),
        Column("op", TEXT, "`assert` for a verdict, `retract` for taking it back", allowed=OPS),
        Column("comparison_id", TEXT, "the comparison that was judged"),
        Column(
            "annotator_id",
            TEXT,
            "who judged, the same id in every source being the same annotator; null where the source does not tell",
            nullable=True,
        ),
        Column("annotator_kind", TEXT, "human, or a model that judges", allowed=ANNOTATOR_KINDS),
        Column("verdict", TEXT, "the preferred response in canonical orientation, or `tie`", allowed=VERDICTS),
        Column("tie_reason", TEXT, "what the source says of a tie, such as `both_bad`", nullable=True),
        Column("preference_strength", FLOAT, "ordinal strength of the preference, 0 or more; its direction is the verdict", nullable=True),
        Column("presented_first", TEXT, "the response that stood first or left", nullable=True, allowed=("a", "b")),
        Column("event_time", TIME, "when the annotator judged, in UTC", nullable=True),
        Column("seconds_spent", FLOAT, "seconds that the annotator took", nullable=True),
        *SOURCE_COLUMNS,
    ),
)

QUARANTINE = RecordKind(
    "quarantine",
    grain="one row per source row that could not be accepted",
    key=("source", "source_file", "source_row"),
    columns=(
        *SOURCE_COLUMNS,
        Column("reason", TEXT, "reason code, such as `missing_verdict`"),
        Column("detail", TEXT, "what exactly was wrong, in words"),
        Column("raw", TEXT, "the row as it was read"),
    ),
)

FINDING = RecordKind(
    "finding",
    grain="one row per source, slice, column and kind of private data that was found in a delivery's rows, known ones included",
    key=("source", "slice", "column", "kind"),
    columns=(
        Column("source", TEXT, "name of the source in the recipe"),
        Column("slice", TEXT, "named part of the data; of a row that could not be read the source's default"),
        Column(
            "column",
            TEXT,
            "where it stood: `prompt`, `response_a`, `response_b` in the source's orientation, or `raw` in a row that was not read",
        ),
        Column("kind", TEXT, "kind of private data, such as `email`"),
        Column("action", TEXT, "what the recipe had done about it", allowed=("report", "redact", "quarantine")),
        Column("n_findings", INT, "how often it was found; what was found is not kept"),
    ),
)

EXPECTATION = RecordKind(
    "expectation",
    grain="one row per expectation of the contracts that was checked",
    key=("records", "column", "expectation", "severity"),
    columns=(
        Column("records", TEXT, "kind of the records that were checked, such as `judgment`"),
        Column("column", TEXT, "the column that was checked, or the columns of a key, joined by commas"),
        Column("expectation", TEXT, "name of the Great Expectations class"),
        Column("severity", TEXT, "a broken critical one stops the stage, a broken warning is reported", allowed=("critical", "warning")),
        Column("success", pa.bool_(), "whether it held"),
        Column("n_unexpected", INT, "rows that broke it"),
    ),
)

PROMPT_GROUP = RecordKind(
    "prompt group member",
    grain="one row per distinct prompt, with the group of near-duplicates that it belongs to",
    key=("prompt_id",),
    columns=(
        Column("prompt_id", TEXT, "hash of the prompt's messages"),
        Column(
            "group_id", TEXT, "the group's representative: the prompt of the group that the lake has known longest, by id within a batch"
        ),
        Column(
            "other_groups",
            pa.list_(pa.string()),
            "further groups of known prompts that the prompt, or one that came with it, is nearly the same as",
        ),
        Column("similarity", FLOAT, "Jaccard similarity of the word n-grams to the representative's, from 0 to 1; 1 for itself"),
        Column("group_size", INT, "prompts of the group"),
    ),
)

RESPONSE_PAIR = RecordKind(
    "response pair",
    grain="one row per comparison whose two responses are the same or nearly the same",
    key=("comparison_id",),
    columns=(
        Column("comparison_id", TEXT, "the comparison"),
        Column("similarity", FLOAT, "Jaccard similarity of the responses' word n-grams, from 0 to 1"),
        Column(
            "mark",
            TEXT,
            "the same text, or one whose similarity reaches `duplicates.response_similarity`",
            allowed=(IDENTICAL, NEAR_IDENTICAL),
        ),
    ),
)

CONTAMINATION = RecordKind(
    "contamination",
    grain="one row per prompt and held-out evaluation set that it stands in",
    key=("prompt_id", "evaluation_set"),
    columns=(
        Column("prompt_id", TEXT, "hash of the prompt's messages"),
        Column("evaluation_set", TEXT, "name of the evaluation set in the recipe"),
        Column("match", TEXT, "equal after normalisation, or nearly so by similarity", allowed=(EXACT, NEAR)),
        Column("similarity", FLOAT, "Jaccard similarity of the word n-grams to the set's most similar prompt, from 0 to 1"),
        Column("evaluation_row", INT, "number of that prompt in the set, counted from 1 without empty lines"),
    ),
)

EVALUATION_SET = RecordKind(
    "evaluation set",
    grain="one row per held-out evaluation set that the recipe names",
    key=("evaluation_set",),
    columns=(
        Column("evaluation_set", TEXT, "name of the evaluation set in the recipe"),
        Column("n_prompts", INT, "prompts of the set"),
        Column("n_exact", INT, "prompts of the snapshot that equal one of them after normalisation"),
        Column("n_near", INT, "further prompts of the snapshot that are nearly the same as one of them"),
    ),
)

"""The audit database's own tables: what one row stands for, what identifies it, and its columns."""

import pyarrow as pa

from data_contracts.records import FLOAT, INT, TEXT, TIME, Column, RecordKind

BOOL, TEXTS = pa.bool_(), pa.list_(pa.string())
SECONDS = Column("seconds", FLOAT, "how long it took to make")
ARTIFACT_ID = Column("artifact_id", TEXT, "the artifact")
HEADLINE = Column("headline", TEXT, "the few figures that are shown for it, as JSON")

BUILT = RecordKind(
    "built",
    grain="one row: when, from what and by which version the database was built",
    key=("built_at",),
    columns=(
        Column("built_at", TIME, "when, in UTC; what landed later is not in it"),
        Column("home", TEXT, "the home's place then: where the views look for the records"),
        Column("overnight_version", TEXT, "version of the project"),
        Column("definitions", TEXT, "hash of the definitions of its tables, views and macros"),
        Column("materialised", BOOL, "whether the records themselves are in it, instead of views over their files"),
        Column("n_batches", INT, "batches of the lake"),
        Column("n_nights", INT, "nights on record"),
    ),
)
NIGHTS = RecordKind(
    "nights",
    grain="one row per night",
    key=("night",),
    columns=(
        Column("night", TEXT, "UTC time at which it began; names its record"),
        Column("began", TIME, "the same as a moment", nullable=True),
        Column("recipe", TEXT, "name of the recipe"),
        Column("outcome", TEXT, "how it ended: `nothing new`, the registry's decision with the gate's verdict, or what stopped it"),
        Column("seconds", FLOAT, "how long it took"),
        Column("cpu_seconds", FLOAT, "processor seconds of its stages; null where the record does not tell them", nullable=True),
        Column("peak_memory", INT, "the largest `peak_memory` of its stages, in bytes", nullable=True),
        Column("n_stages", INT, "stages that gave something"),
        Column("n_reused", INT, "stages whose artifact had been made before"),
    ),
)
STAGES = RecordKind(
    "stages",
    grain="one row per night and stage that gave something",
    key=("night", "stage"),
    columns=(
        Column("night", TEXT, "the night"),
        Column("place", INT, "the stage's place in the night, from 0"),
        Column("stage", TEXT, "what the stage is called in the night"),
        Column("kind", TEXT, "kind of its artifact"),
        ARTIFACT_ID,
        Column("reused", BOOL, "whether the artifact had been made before"),
        Column("seconds", FLOAT, "how long the stage took in this night"),
        Column(
            "cpu_seconds",
            FLOAT,
            "user and system seconds of the process that ran it, with all its threads, and of the processes that it started and that "
            "ended meanwhile, such as learning processes; null where the record does not tell them",
            nullable=True,
        ),
        Column(
            "peak_memory",
            INT,
            "the most that one learning process of it held in memory (resident, of the machine and not of a GPU), in bytes; null where "
            "none ran, or the record does not tell it",
            nullable=True,
        ),
        HEADLINE,
    ),
)
ARTIFACTS = RecordKind(
    "artifacts",
    grain="one row per artifact or batch",
    key=("artifact_id",),
    columns=(
        Column("artifact_id", TEXT, "hash of what made it"),
        Column("kind", TEXT, "what it is, such as `reward_model`"),
        Column("digest", TEXT, "hash of its files, as published"),
        Column("created_at", TIME, "when it was published, in UTC"),
        SECONDS,
        HEADLINE,
        Column("config", TEXT, "the resolved configuration of its stage, as JSON"),
        Column("code_version", TEXT, "hash of the source that made it"),
        Column("directory", TEXT, "where it lies"),
        Column(
            "collected_at",
            TEXT,
            "when its files were removed because nothing needed them, in UTC; null while they are there",
            nullable=True,
        ),
    ),
)
FILES = RecordKind(
    "files",
    grain="one row per artifact and file, as published",
    key=("artifact_id", "path"),
    columns=(
        ARTIFACT_ID,
        Column("path", TEXT, "path inside the artifact"),
        Column("size", INT, "bytes"),
        Column("sha256", TEXT, "SHA-256 of the bytes"),
    ),
)
LINEAGE = RecordKind(
    "lineage",
    grain="one row per artifact and input",
    key=("artifact_id", "role"),
    columns=(
        ARTIFACT_ID,
        Column("kind", TEXT, "what it is"),
        Column("role", TEXT, "what the input is to it"),
        Column("input_kind", TEXT, "kind of the input, or `file` for one from outside"),
        Column("input_id", TEXT, "the input's artifact id, or the file's name"),
        Column("input_digest", TEXT, "SHA-256 of the input's content"),
    ),
)
BATCH_COUNTS = ("rows_read", "rows_accepted", "rows_quarantined", "rows_known", "judgments", "comparisons")
BATCHES = RecordKind(
    "batches",
    grain="one row per batch of the lake",
    key=("batch",),
    columns=(
        Column("batch", TEXT, "name of the batch's directory"),
        Column("place", INT, "its place in the order of ingest, from 0"),
        ARTIFACT_ID,
        Column("ingest_time", TIME, "when it landed, in UTC"),
        Column("rows_read", INT, "rows of the sources that were read", nullable=True),
        Column("rows_accepted", INT, "of these, rows that brought something new", nullable=True),
        Column("rows_quarantined", INT, "of these, rows that were refused", nullable=True),
        Column("rows_known", INT, "of these, rows that the lake had", nullable=True),
        Column("judgments", INT, "revisions of judgments that it brought", nullable=True),
        Column("comparisons", INT, "comparisons that it brought or completed", nullable=True),
    ),
)
SNAPSHOTS = RecordKind(
    "snapshots",
    grain="one row per snapshot of the lake that a night took",
    key=("snapshot_id",),
    columns=(
        Column("snapshot_id", TEXT, "the snapshot's artifact id"),
        Column("created_at", TIME, "when it was taken first, in UTC"),
        Column("sources", TEXTS, "names of the sources whose judgments count; null for all", nullable=True),
        Column("n_batches", INT, "batches that count", nullable=True),
        Column("n_judgments", INT, "judgments that stood", nullable=True),
        Column("n_comparisons", INT, "comparisons that stood", nullable=True),
    ),
)
SNAPSHOT_BATCHES = RecordKind(
    "snapshot_batches",
    grain="one row per snapshot and batch that counts in it",
    key=("snapshot_id", "place"),
    columns=(
        Column("snapshot_id", TEXT, "the snapshot"),
        Column("place", INT, "the batch's place in the snapshot, from 0"),
        Column("digest", TEXT, "the batch's digest when the snapshot was taken"),
        Column("batch", TEXT, "the batch; null where the lake no longer has it", nullable=True),
    ),
)
LEARNED_FROM = RecordKind(
    "learned_from",
    grain="one row per model, reward model that it learned through, split of the preferences and use",
    key=("model_id", "through_id", "split"),
    columns=(
        Column("model_id", TEXT, "the model: a reward model, a held-out judge or a policy"),
        Column("kind", TEXT, "what the model is"),
        Column("through_id", TEXT, "the reward model or judge that read the preferences: itself, or one that a policy was trained with"),
        Column("split", TEXT, "the split of the preferences"),
        Column("use", TEXT, "`learned`, or `selected` where the split only chose among epochs or updates", allowed=("learned", "selected")),
        Column("preferences_id", TEXT, "the preferences' artifact"),
        Column("snapshot_id", TEXT, "the snapshot that they were made from", nullable=True),
        Column("aggregation_id", TEXT, "the aggregation that they were made from", nullable=True),
        Column("annotator_kinds", TEXTS, "kinds of annotators whose judgments counted"),
    ),
)
DECISION = (
    Column("version_id", TEXT, "the version that was decided about"),
    Column("policy_id", TEXT, "its policy"),
    Column("policy_digest", TEXT, "the policy's digest"),
    Column("reason", TEXT, "why"),
    Column("at", TEXT, "when, in UTC, ISO 8601"),
    Column("by", TEXT, "who: a name, `recipe` for the recipe's own rule, empty where it was not recorded"),
    Column("action", TEXT, "what was done: a rejection moves no alias", allowed=("moved", "rolled back", "rejected")),
    Column("evaluation_id", TEXT, "the evaluation that it was decided on", nullable=True),
    Column("gate_id", TEXT, "the gate that it was decided on", nullable=True),
)
ALIAS_MOVES = RecordKind(
    "aliases",
    grain="one row per move of an alias",
    key=("line", "alias", "place"),
    columns=(
        Column("line", TEXT, "the recipe's line of policies"),
        Column("alias", TEXT, "`candidate`, `champion` or `previous`"),
        Column("place", INT, "number of the move, from 0; the highest one stands"),
        *DECISION,
    ),
)
DECISIONS = RecordKind(
    "decisions",
    grain="one row per decision about a champion: a promotion, a rollback or a rejection",
    key=("line", "place"),
    columns=(
        Column("line", TEXT, "the recipe's line of policies"),
        Column("place", INT, "number of the decision, from 0"),
        *DECISION,
    ),
)
TOMBSTONES = RecordKind(
    "tombstones",
    grain="one row per request to forget, without its content",
    key=("tombstone",),
    columns=(
        Column("tombstone", TEXT, "random name of the request"),
        Column("requested_at", TEXT, "when, in UTC, ISO 8601"),
        Column("completed_at", TEXT, "when everything was erased; null while it is not", nullable=True),
        Column("reason", TEXT, "why, in the words of who asked"),
        Column("n_annotators", INT, "fingerprints of annotators that were named"),
        Column("n_judgments", INT, "judgments that were erased"),
        Column("n_prompts", INT, "prompts that were named"),
        Column("n_artifacts", INT, "batches and artifacts that something was erased from"),
        Column("n_models", INT, "models that had learned from it"),
        Column("rows", TEXT, "rows erased by file, as JSON"),
        Column("trained_models", TEXT, "those models with their aliases, as JSON"),
    ),
)
REDACTIONS = RecordKind(
    "redactions",
    grain="one row per artifact, file and request to forget that changed it",
    key=("artifact_id", "path", "tombstone"),
    columns=(
        ARTIFACT_ID,
        Column("kind", TEXT, "what it is"),
        Column("tombstone", TEXT, "the request"),
        Column("path", TEXT, "the file"),
        Column("sha256_before", TEXT, "its hash before"),
        Column("sha256", TEXT, "its hash since"),
        Column("rows", INT, "rows that were erased"),
    ),
)
OWN_TABLES = (
    BUILT,
    NIGHTS,
    STAGES,
    ARTIFACTS,
    FILES,
    LINEAGE,
    BATCHES,
    SNAPSHOTS,
    SNAPSHOT_BATCHES,
    LEARNED_FROM,
    ALIAS_MOVES,
    DECISIONS,
    TOMBSTONES,
    REDACTIONS,
)

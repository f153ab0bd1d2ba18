"""What the stages' artifacts hold, in the audit database: the rows of every artifact, and those of the last night."""

from collections.abc import Sequence
from typing import NamedTuple

import duckdb

from data_contracts.artifact_store import Artifact
from data_contracts.audit.tables import add_relation, file_of, no_rows
from data_contracts.records import (
    AGGREGATED,
    AGGREGATED_FOR_JUDGE_FILE,
    ANNOTATOR,
    ANNOTATOR_PAIR,
    ANNOTATOR_RELIABILITY,
    CONTAMINATION,
    DATA_RULE,
    EVALUATION_SET,
    EXCLUDED,
    EXPECTATION,
    FAVOURITISM,
    FIGURE,
    FLAG,
    HELD_OUT_TEXT,
    MEASUREMENT,
    POLICY_SAMPLE,
    PREFERENCE,
    PROMPT,
    PROMPT_GROUP,
    QUALITY_FIGURE,
    RESPONSE_PAIR,
    REWARD_FIGURE,
    RULE,
    SAMPLE,
    SCORE_FEATURE,
    TEXT,
    TRUE_CURVE,
    VERDICT,
    Column,
    RecordKind,
)
from data_contracts.sql_text import listed

ARTIFACT_ID = Column("artifact_id", TEXT, "the artifact that the row stands in")


class StageTable(NamedTuple):
    """A table of a stage's artifacts: rows of every artifact as `all_NAME`, of the last night that has the stage as `NAME`."""

    name: str
    kind: str
    file: str
    records: RecordKind
    large: bool = False
    """Whether it grows with the data: then it is a view over the artifacts' files."""
    several: bool = False
    """Whether a night has several artifacts of the kind that belong together."""


STAGE_TABLES = (
    StageTable("preferences", "preferences", "preferences.parquet", PREFERENCE, large=True),
    StageTable("prompts", "preferences", "prompts.parquet", PROMPT, large=True),
    StageTable("excluded", "preferences", "excluded.parquet", EXCLUDED, large=True),
    StageTable("aggregated", "aggregation", "aggregated.parquet", AGGREGATED, large=True),
    StageTable("aggregated_for_judge", "aggregation", AGGREGATED_FOR_JUDGE_FILE, AGGREGATED, large=True),
    StageTable("annotator_reliability", "aggregation", "annotator_reliability.parquet", ANNOTATOR_RELIABILITY),
    StageTable("flagged_annotators", "aggregation", "flagged_annotators.parquet", FLAG),
    StageTable("prompt_groups", "duplicates", "prompt_groups.parquet", PROMPT_GROUP, large=True),
    StageTable("response_pairs", "duplicates", "response_pairs.parquet", RESPONSE_PAIR, large=True),
    StageTable("contamination", "duplicates", "contamination.parquet", CONTAMINATION),
    StageTable("evaluation_sets", "duplicates", "evaluation_sets.parquet", EVALUATION_SET),
    StageTable("expectations", "validation", "expectations.parquet", EXPECTATION),
    StageTable("quality", "quality", "quality.parquet", QUALITY_FIGURE),
    StageTable("annotators", "quality", "annotators.parquet", ANNOTATOR),
    StageTable("annotator_pairs", "quality", "annotator_pairs.parquet", ANNOTATOR_PAIR, large=True),
    StageTable("favouritism", "quality", "favouritism.parquet", FAVOURITISM),
    StageTable("data_gates", "data_gate", "data_gate.parquet", DATA_RULE),
    StageTable("reward_figures", "reward_model", "figures.parquet", REWARD_FIGURE),
    StageTable("evaluation", "evaluation", "figures.parquet", FIGURE),
    StageTable("samples", "evaluation", "samples.parquet", SAMPLE, large=True),
    StageTable("score_features", "evaluation", "features.parquet", SCORE_FEATURE),
    StageTable("judge_figures", "verdicts", "figures.parquet", FIGURE, several=True),
    StageTable("verdicts", "verdicts", "verdicts.parquet", VERDICT, large=True, several=True),
    StageTable("measure_figures", "measurement", "figures.parquet", FIGURE, several=True),
    StageTable("measurements", "measurement", "measurements.parquet", MEASUREMENT, large=True, several=True),
    StageTable("policy_samples", "policy", "samples.parquet", POLICY_SAMPLE, large=True),
    StageTable("held_out_texts", "held_out_texts", "texts.parquet", HELD_OUT_TEXT, large=True),
    StageTable("gates", "gate", "gate.parquet", RULE),
    StageTable("simulated_truth", "simulated_truth", "truth.parquet", FIGURE),
    StageTable("simulated_curve", "simulated_truth", "curve.parquet", TRUE_CURVE),
)


def add_stage_tables(connection: duckdb.DuckDBPyConnection, artifacts: Sequence[Artifact], *, materialise: bool) -> None:
    """Add every stage table; one that no artifact has is there and empty."""
    for table in STAGE_TABLES:
        columns, own = table.records.columns, [artifact for artifact in artifacts if artifact.kind == table.kind]
        with_id = (ARTIFACT_ID, *columns)
        keep = materialise or not table.large
        every = no_rows(connection, with_id)
        if files := _files(table, own):
            joined = f"from {files} as r join artifacts as a on a.directory = parse_dirpath(filename)"
            every = _in_columns(f"{every} union all by name select a.artifact_id, r.* exclude (filename) {joined}", with_id)
        add_relation(connection, f"all_{table.name}", every, f"{table.records.grain}, of every artifact", with_id, materialise=keep)
        last = _last_night(connection, table)
        of_last = f"from all_{table.name} where artifact_id in ({listed(last)})"
        if not keep and (files := _files(table, [artifact for artifact in own if artifact.id in last])):
            # One file need not be looked for among those of all nights.
            of_last = f"from ({no_rows(connection, columns)} union all by name select * exclude (filename) from {files})"
        names = ", ".join(f'"{column.name}"' for column in columns)
        grain = f"{table.records.grain}, of the last night"
        add_relation(connection, table.name, f"select {names} {of_last}", grain, columns, materialise=False)


def _in_columns(query: str, columns: Sequence[Column]) -> str:
    """A query's known columns; artifacts of older versions may lack some, and those are null."""
    return f"select {', '.join(f'{chr(34)}{column.name}{chr(34)}' for column in columns)} from ({query})"


def _files(table: StageTable, artifacts: Sequence[Artifact]) -> str:
    """SQL for the rows of one file of some artifacts, with its path as `filename`; empty where there is none."""
    paths = [path for path in (file_of(artifact, table.file) for artifact in artifacts) if path is not None]
    if not paths:
        return ""
    return f"read_parquet([{listed(paths)}], filename = true, union_by_name = true, hive_partitioning = false)"


def _last_night(connection: duckdb.DuckDBPyConnection, table: StageTable) -> list[str]:
    """The artifacts of a kind that the last night with such a stage had; of a single one the reward model, and not its held-out judge."""
    last = "night = (select max(night) from stages where kind = $kind)"
    found = connection.execute(
        f"select artifact_id from stages where kind = $kind and {last} order by place", {"kind": table.kind}
    ).fetchall()
    ids = [row[0] for row in found] or [""]
    return ids if table.several else ids[:1]

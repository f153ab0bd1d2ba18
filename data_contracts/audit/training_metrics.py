"""What trainings logged, in the audit database: each figure of each row of `metrics.jsonl`, read from the artifacts' own files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb

from data_contracts.artifact_store import Artifact
from data_contracts.audit.tables import add_relation, file_of, no_rows
from data_contracts.records import FLOAT, INT, TEXT, Column, RecordKind
from data_contracts.sql_text import listed

METRICS_FILE = "metrics.jsonl"
GRAIN = "one row per trained model, row of its `metrics.jsonl`, figure, and member that the figure is of"
KEY = ("line", "figure", "member")
COLUMNS = (
    Column("artifact_id", TEXT, "the model that was trained"),
    Column("line", INT, "the row's place in the file, from 1"),
    Column(
        "step", INT, "the update, or of SFT, DPO, reward models and pretraining the optimizer step, that the row belongs to; 0: before any"
    ),
    Column("figure", TEXT, "name of the figure; metrics.md says what each is"),
    Column("member", INT, "the ensemble's member that it is of, from 0; −1 where it is of the whole model"),
    Column("value", FLOAT, "its value; null where it was not finite", nullable=True),
)
ALL_TRAINING_METRICS = RecordKind("all_training_metrics", grain=f"{GRAIN}, of every artifact", key=("artifact_id", *KEY), columns=COLUMNS)
TRAINING_METRICS = RecordKind(
    "training_metrics",
    grain=f"{GRAIN}, of the last night",
    key=("stage", *KEY),
    columns=(
        Column("night", TEXT, "the last night with such a stage"),
        Column("stage", TEXT, "what the stage is called in the night"),
        *COLUMNS,
    ),
)
ROWS = """
with lines as (select filename, json as told, row_number() over () as number from {files}),
counted as (
    select
        filename, told, number - min(number) over (partition by filename) + 1 as line,
        last_value(coalesce(told->>'update', told->>'step')::bigint ignore nulls) over (partition by filename order by number) as step
    from lines
),
entries as (
    select filename, line, step, (told->>'member')::bigint as member, unnest(map_entries(told::map(varchar, json))) as entry from counted
),
figures as (
    select * exclude (entry), entry.key as figure, entry.value as told, json_type(entry.value) = 'ARRAY' as is_list
    from entries where entry.key not in ('update', 'step', 'member')
),
numbers as (
    select
        filename, line, step, figure, unnest(if(is_list, told::json[], [told])) as number,
        unnest(if(is_list, range(json_array_length(told)::bigint), [member])) as member
    from figures
)
select
    a.artifact_id, line, coalesce(step, 0) as step, figure, coalesce(member, -1) as member,
    if(isfinite((number->>'$')::double), (number->>'$')::double, null) as value
from numbers join artifacts as a on a.directory = parse_dirpath(filename)
"""
"""A row that names neither update nor step, a validation, belongs to the row before it; a list has a number for each member."""
LAST_STAGES = "select night, stage, artifact_id from stages qualify night = max(night) over (partition by kind)"


def add_training_metrics(connection: duckdb.DuckDBPyConnection, artifacts: Sequence[Artifact], *, materialise: bool) -> None:
    """Add `all_training_metrics`, of every artifact, and `training_metrics`, of the last night; views over the files unless kept."""
    files = {artifact.id: path for artifact in artifacts if (path := file_of(artifact, METRICS_FILE)) is not None}
    every = _query(connection, files.values())
    _add(connection, ALL_TRAINING_METRICS, every, materialise=materialise)
    last = {artifact_id for _, _, artifact_id in connection.execute(LAST_STAGES).fetchall()}
    # A few files need not be looked for among those of all nights.
    source = "all_training_metrics" if materialise else f"({_query(connection, [path for id_, path in files.items() if id_ in last])})"
    of_last = f"select s.night, s.stage, m.* from {source} as m join ({LAST_STAGES}) as s using (artifact_id)"
    _add(connection, TRAINING_METRICS, of_last, materialise=False)


def _add(connection: duckdb.DuckDBPyConnection, kind: RecordKind, query: str, *, materialise: bool) -> None:
    add_relation(connection, kind.name, query, kind.grain, kind.columns, materialise=materialise)


def _query(connection: duckdb.DuckDBPyConnection, files: Iterable[Path]) -> str:
    """SQL for the figures of some files."""
    if not (paths := listed(files)):
        return no_rows(connection, COLUMNS)
    return ROWS.format(files=f"read_ndjson_objects([{paths}], filename = true)")

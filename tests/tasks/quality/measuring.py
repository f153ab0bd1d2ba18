"""The quality of what a home's lake holds, as its stage measures it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from data_contracts.records import COMPARISON, JUDGMENT, RecordKind
from tasks.duplicates.duplicates import DuplicatesConfig, find_duplicates
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.quality.quality import Measured, QualityConfig, measure, measure_quality
from tasks.quality.working_tables import make_working_tables
from tests.tasks.deliveries import row, swapped

CONFIG = QualityConfig(resamples=100)


def measured_quality(home: Home, config: QualityConfig = CONFIG) -> Artifact:
    snapshot = take_snapshot(home, SnapshotConfig()).artifact
    duplicates = find_duplicates(home, DuplicatesConfig(), snapshot=snapshot).artifact
    return measure_quality(home, config, snapshot=snapshot, duplicates=duplicates).artifact


def figures(measured: Artifact | Measured, kind: str = "all", name: str = "all") -> dict[str, dict[str, Any]]:
    """The figures of one slice, by name."""
    rows = (
        [vars(figure) for figure in measured.figures]
        if isinstance(measured, Measured)
        else pq.read_table(measured.file("quality.parquet")).to_pylist()
    )
    return {row["figure"]: row for row in rows if (row["slice_kind"], row["slice"]) == (kind, name)}


def measured(
    rows: Sequence[dict[str, Any]], config: QualityConfig = CONFIG, near_pairs: Sequence[int] = (), excluded: Sequence[str] = ()
) -> Measured:
    """The quality of rows as they are, without a lake."""
    with in_memory(rows, near_pairs) as connection:
        return measure(connection, config, excluded)


def vote(verdict: str, annotator: str | None, comparison: int, **values: Any) -> dict[str, Any]:
    """A native row; every comparison has texts of its own."""
    texts = {"response_a": f"x{comparison}", "response_b": f"y{comparison}"}
    return row(verdict, annotator_id=annotator, comparison_id=comparison, **texts) | values


@contextmanager
def in_memory(rows: Sequence[dict[str, Any]], near_pairs: Sequence[int] = ()) -> Iterator[duckdb.DuckDBPyConnection]:
    """The working tables of rows as they are, without a lake: comparisons keep the orientation of their first row."""
    pairs: dict[int, dict[str, Any]] = {}
    for values in rows:
        pairs.setdefault(values["comparison_id"], values)
    judged = [record(JUDGMENT, as_judgment(values, pairs[values["comparison_id"]], number)) for number, values in enumerate(rows)]
    compared = [record(COMPARISON, values | {"prompt_id": values["prompt"], "prompt": None}) for values in pairs.values()]
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'; set threads = 1")
        connection.register("current_judgments", JUDGMENT.table(judged))
        connection.register("current_comparisons", COMPARISON.table(compared))
        make_working_tables(connection, pl.DataFrame({"comparison_id": [str(c) for c in near_pairs]}, {"comparison_id": pl.String}))
        yield connection


def as_judgment(values: dict[str, Any], pair: dict[str, Any], number: int) -> dict[str, Any]:
    turned = values["response_a"] != pair["response_a"]
    told = (swapped(values) if turned else values) | {"judgment_id": f"{number:05d}", "revision": 0, "op": "assert"}
    if told.get("event_time"):
        told["event_time"] = datetime.fromisoformat(told["event_time"])
    return told


def record(kind: RecordKind, values: dict[str, Any]) -> dict[str, object]:
    filled = {"source": "s", "source_file": "f", "source_row": 1, "slice": "s", "annotator_kind": "human"} | values
    told = {column.name: filled.get(column.name) for column in kind.columns}
    return told | {"comparison_id": str(values["comparison_id"])}

"""How much feedback there is, by slice, and how much of what was read was refused."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import polars as pl

from data_contracts.artifact_store import open_artifact
from data_contracts.feedback_lake import Pinned, files_read
from data_contracts.records import ALL_SLICES
from tasks.quality.figures.agreement import ratio
from tasks.quality.rows import UNKNOWN, Figure
from tasks.quality.slices import Slices
from tasks.quality.working_tables import rows

NEW = "new"


def volume_figures(connection: duckdb.DuckDBPyConnection, slices: Slices) -> Iterator[Figure]:
    """Judgments, comparisons and annotators of every slice, and the share of the busiest annotator."""
    for kind, column in slices.columns.items():
        for row in rows(connection, "volume", slice=column).filter(pl.col("slice").is_in(slices.kept[kind])).iter_rows(named=True):
            part = (kind, row["slice"])
            for name in ("judgments", "comparisons", "annotators"):
                yield Figure.of(name, (row[name], *UNKNOWN), row[name], part)
            share = float(ratio(row["largest"], row["judgments"])) if row["annotators"] else float("nan")
            yield Figure.of("largest_annotator_share", (share, *UNKNOWN), row["annotators"], part)


def refusal_figures(pinned: Pinned, new_batches: Sequence[Path] | None) -> Iterator[Figure]:
    """The share of the rows that the lake did not have that were refused, of all batches and of the new ones (by default all are new)."""
    for part, batches in (((ALL_SLICES, ALL_SLICES), pinned.batches), ((NEW, NEW), pinned.batches if new_batches is None else new_batches)):
        files = [file for path in batches for file in files_read(open_artifact(path))]
        counted = [file for file in files if pinned.sources is None or file["source"] in pinned.sources]
        refused, read, known = (sum(file[name] for file in counted) for name in ("rows_quarantined", "rows_read", "rows_known"))
        yield Figure.of("quarantined_share", (float(ratio(refused, read - known)), *UNKNOWN), read - known, part)

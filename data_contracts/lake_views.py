"""What stands in the lake: the current judgments and comparisons of a snapshot, as SQL over its batches."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from data_contracts.feedback_lake import COMPARISONS, JUDGMENTS, files_of
from data_contracts.manifest import content_hash

SQL = Path(__file__).parent / "sql"


def current_judgments(batches: Sequence[Path]) -> pa.Table:
    """The judgments that stand, by judgment id.

    Args:
        batches: the batches' directories in the snapshot's order; those up to a moment give the judgments as of that moment.
    """
    return _view("judgments", JUDGMENTS, batches)


def current_comparisons(batches: Sequence[Path]) -> pa.Table:
    """The comparisons with everything that is known of them, by comparison id; see `current_judgments`."""
    return _view("comparisons", COMPARISONS, batches)


def views_version() -> str:
    """Hash of the views' SQL: part of the code version of every stage that reads them."""
    return content_hash([path.read_text() for path in sorted(SQL.glob("current_*.sql"))])[:8]


def _view(records: str, file: str, batches: Sequence[Path]) -> pa.Table:
    files_read = "read_parquet($files, filename = true, hive_partitioning = false)"  # the date in the path is no column of a record
    rows = f"select list_position($files, filename) as batch, * exclude (filename) from {files_read}"
    view = (SQL / f"current_{records}.sql").read_text()
    with duckdb.connect() as connection:
        relation = connection.sql(f"with {records} as ({rows})\n{view}", params={"files": files_of(batches, file)})
        return relation.to_arrow_table()

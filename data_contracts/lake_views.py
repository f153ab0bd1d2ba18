"""What stands in the lake: the current judgments and comparisons of a snapshot, as SQL over its batches."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from data_contracts.feedback_lake import files_of

SQL = Path(__file__).parent / "sql"


def current_judgments(batches: Sequence[Path]) -> pa.Table:
    """The judgments that stand, by judgment id.

    Args:
        batches: the batches' directories in the snapshot's order; those up to a moment give the judgments as of that moment.
    """
    return _view("judgments", batches)


def current_comparisons(batches: Sequence[Path]) -> pa.Table:
    """The comparisons with everything that is known of them, by comparison id; see `current_judgments`."""
    return _view("comparisons", batches)


def _view(records: str, batches: Sequence[Path]) -> pa.Table:
    rows = "select list_position($files, filename) as batch, * exclude (filename) from read_parquet($files, filename = true)"
    view = (SQL / f"current_{records}.sql").read_text()
    with duckdb.connect() as connection:
        relation = connection.sql(f"with {records} as ({rows})\n{view}", params={"files": files_of(batches, f"{records}.parquet")})
        return relation.to_arrow_table()

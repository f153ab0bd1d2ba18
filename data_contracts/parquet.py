"""Records in Parquet files: written in one way, so that equal rows make equal bytes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.records import RecordKind


def write_records(kind: RecordKind, table: pa.Table, path: Path) -> None:
    """Write the columns of a record kind; a missing column, a wrong type or a null where none may stand is an error."""
    write_table(table.select(kind.schema.names).cast(kind.schema), path)


def write_table(table: pa.Table, path: Path) -> None:
    """Write any table; no time, path or thread leaves a trace in the bytes."""
    pq.write_table(table, path, compression="zstd")

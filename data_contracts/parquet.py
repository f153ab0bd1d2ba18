"""Records in Parquet files: written in one way, so that equal rows make equal bytes."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.records import RecordKind

ROWS_PER_GROUP = 100_000
"""Rows of a row group of files that are written as a stream."""


def write_records(kind: RecordKind, table: pa.Table, path: Path) -> None:
    """Write the columns of a record kind; a missing column, a wrong type or a null where none may stand is an error."""
    write_table(table.select(kind.schema.names).cast(kind.schema), path)


def write_stream(kind: RecordKind, batches: pa.RecordBatchReader, path: Path) -> int:
    """Write a stream of records as `write_records` does, group by group, so that no more than one group is held; the number of rows."""
    rows = 0
    with pq.ParquetWriter(path, kind.schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]).cast(kind.schema), row_group_size=ROWS_PER_GROUP)
            rows += batch.num_rows
    return rows


def write_table(table: pa.Table, path: Path) -> None:
    """Write any table; no time, path or thread leaves a trace in the bytes."""
    pq.write_table(table, path, compression="zstd")

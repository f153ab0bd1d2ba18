"""Records in Parquet files: written in one way, so that equal rows make equal bytes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.records import RecordKind

ROWS_PER_GROUP = 100_000
"""Rows of a row group of files that are written as a stream."""
UNIQUE = {"comparison_id", "judgment_id", "prompt_id", "prompt", "response_a", "response_b", "raw", "source_row", "event_time"}
"""Columns whose values hardly repeat: a dictionary of them would take time and space."""


def write_records(kind: RecordKind, table: pa.Table, path: Path) -> None:
    """Write the columns of a record kind; a missing column, a wrong type or a null where none may stand is an error."""
    write_table(table.select(kind.schema.names).cast(kind.schema), path)


def write_stream(kind: RecordKind, batches: Iterable[pa.RecordBatch], path: Path) -> int:
    """Write a stream of records as `write_records` does, group by group, so that little more than one is held; the number of rows."""
    rows = 0
    repeated = [name for name in kind.schema.names if name not in UNIQUE]
    with pq.ParquetWriter(path, kind.schema, compression="zstd", use_dictionary=repeated) as writer:
        for group in _groups(batches):
            writer.write_table(group.cast(kind.schema), row_group_size=ROWS_PER_GROUP)
            rows += group.num_rows
    return rows


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows in groups of one size, each in one piece: how a stream is cut must leave no trace in the bytes."""
    held = pa.table({})
    for batch in batches:
        table = pa.Table.from_batches([batch])
        held = pa.concat_tables([held, table]) if held.num_rows else table
        while held.num_rows >= ROWS_PER_GROUP:
            yield held.slice(0, ROWS_PER_GROUP).combine_chunks()
            held = held.slice(ROWS_PER_GROUP)
    if held.num_rows:
        yield held.combine_chunks()


def write_table(table: pa.Table, path: Path) -> None:
    """Write any table; no time, path or thread leaves a trace in the bytes."""
    pq.write_table(table, path, compression="zstd")

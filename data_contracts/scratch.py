"""A scratch database: a DuckDB connection that goes to disk where its memory does not suffice, and leaves nothing behind."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from data_contracts.sql_text import quoted

MEMORY = "1GB"
"""What a scratch database may hold in memory."""


@contextmanager
def scratch_database(beside: Path, memory: str = MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database for the time of a block, in UTC.

    Args:
        beside: a directory that is being written; the database lies beside it, on the same disk.
        memory: what it may hold in memory, as DuckDB reads it (`1GB`).
    """
    scratch = beside.with_name(f"{beside.name}.scratch")
    scratch.mkdir(parents=True)
    try:
        with duckdb.connect(scratch / "scratch.duckdb") as connection:
            connection.execute(f"set memory_limit = '{memory}'; set temp_directory = {quoted(scratch / 'spill')}; set timezone = 'UTC'")
            yield connection
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

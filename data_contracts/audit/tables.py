"""Making tables of the audit database, each with a comment that states its grain and comments on its columns."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from data_contracts.artifact_store import Artifact
from data_contracts.errors import IntegrityError
from data_contracts.records import Column, RecordKind
from data_contracts.sql_text import quoted


def add_rows(connection: duckdb.DuckDBPyConnection, kind: RecordKind, rows: Iterable[Mapping[str, Any]]) -> None:
    """Create a table of a record kind, by its name, from rows."""
    connection.register("incoming", kind.table([dict(row) for row in rows]))
    connection.execute(f"create table {kind.name} as select * from incoming")
    connection.unregister("incoming")
    describe(connection, "table", kind.name, kind.grain, kind.columns)


def add_relation(
    connection: duckdb.DuckDBPyConnection, name: str, query: str, grain: str, columns: Sequence[Column], *, materialise: bool
) -> None:
    """Create a view of a query, or with `materialise` a table."""
    what = "table" if materialise else "view"
    connection.execute(f"create {what} {name} as {query}")
    describe(connection, what, name, grain, columns)


def describe(connection: duckdb.DuckDBPyConnection, what: str, name: str, grain: str, columns: Iterable[Column]) -> None:
    """State what one row of a table or view stands for and what its columns mean."""
    comment(connection, what, name, grain)
    for column in columns:
        comment(connection, "column", f'{name}."{column.name}"', column.description)


def comment(connection: duckdb.DuckDBPyConnection, what: str, name: str, text: str) -> None:
    """Put a comment on a table, view, macro or column."""
    connection.execute(f"comment on {what} {name} is {quoted(text)}")


def file_of(artifact: Artifact, name: str) -> Path | None:
    """One of its files; None where it has none of that name, or lost it: what is damaged is told by `overnight verify`."""
    with suppress(IntegrityError):
        return artifact.file(name) if artifact.has(name) else None
    return None


def no_rows(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column]) -> str:
    """SQL for a relation with these columns and no row."""
    schema = pa.schema([pa.field(column.name, column.type) for column in columns])
    connection.register("pattern", schema.empty_table())
    types = connection.execute("select column_name, column_type from (describe pattern)").fetchall()
    connection.unregister("pattern")
    return "select " + ", ".join(f'null::{kind} as "{name}"' for name, kind in types) + " where false"

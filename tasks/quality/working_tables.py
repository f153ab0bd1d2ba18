"""The tables that every measure reads, made once in a DuckDB connection, and the measures' SQL by name."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl

from data_contracts.errors import StageError
from data_contracts.feedback_lake import JUDGMENTS, files_of
from data_contracts.manifest import content_hash
from data_contracts.sql_text import parquet

SQL = Path(__file__).parent / "sql"


@contextmanager
def scratch_database(folder: Path, memory_limit: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of its own that goes to disk, below `folder`, where its memory does not suffice; it is gone afterwards.

    Raises:
        StageError: something needs more memory at once than it may have.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as spill, duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"set memory_limit = '{memory_limit}'")
        connection.execute(f"set temp_directory = '{spill}'")
        connection.execute("set preserve_insertion_order = false")
        try:
            yield connection
        except duckdb.OutOfMemoryException as error:
            what = f"measuring the feedback's quality needs more memory than the {memory_limit} it may have"
            raise StageError(what, remedy="raise quality.memory_limit: 3GB for ten million judgments, 12GB for a hundred") from error


def make_working_tables(connection: duckdb.DuckDBPyConnection, near_pairs: pl.DataFrame, new_batches: Sequence[Path] | None = None) -> None:
    """Make the tables of `working_tables.sql` from the lake's current views in the connection.

    Args:
        connection: a database with what stands in the lake.
        near_pairs: the comparisons (`comparison_id`) whose responses are the same or nearly the same.
        new_batches: the batches whose judgments are new; by default everything is.
    """
    connection.execute(f"create or replace temp macro is_new(id, number) as {_newness(new_batches)}")
    connection.register("near_pairs", near_pairs.select("comparison_id").to_arrow())
    connection.execute(sql("working_tables"))


def _newness(new_batches: Sequence[Path] | None) -> str:
    """SQL that tells whether a judgment's present revision came in one of these batches."""
    if new_batches is None or not new_batches:
        return str(new_batches is None).lower()
    return f"(id, number) in (select (judgment_id, revision) from {parquet(*files_of(new_batches, JUDGMENTS))})"


def sql(name: str) -> str:
    """One of the queries in `sql/`."""
    return (SQL / f"{name}.sql").read_text()


def rows(connection: duckdb.DuckDBPyConnection, query: str, **filled: object) -> pl.DataFrame:
    """The rows of a query, with its places filled in; enumerations become texts, and sums numbers."""
    found: pl.DataFrame = connection.sql(sql(query).format(**filled)).pl()
    wide = [name for name, kind in found.schema.items() if kind.is_decimal() or kind == pl.Int128]
    return found.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String), pl.col(wide).cast(pl.Float64))


def sql_version() -> str:
    """Hash of the measures' SQL: part of the code version of the stage."""
    return content_hash([path.read_text() for path in sorted(SQL.glob("*.sql"))])[:8]

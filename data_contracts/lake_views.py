"""What stands in the lake: the current judgments and comparisons of a snapshot, as SQL over its batches."""

from collections.abc import Collection, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from data_contracts.feedback_lake import COMPARISONS, JUDGMENTS, files_of
from data_contracts.manifest import content_hash

SQL = Path(__file__).parent / "sql"
FILES = {"judgments": JUDGMENTS, "comparisons": COMPARISONS}


def current_judgments(batches: Sequence[Path], sources: Collection[str] | None = None) -> pa.Table:
    """The judgments that stand, by judgment id.

    Args:
        batches: the batches' directories in the snapshot's order; those up to a moment give the judgments as of that moment.
        sources: leave out the judgments of other sources; by default none is left out.
    """
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        return _current(connection, "judgments", batches, sources).to_arrow_table()


def current_comparisons(batches: Sequence[Path], sources: Collection[str] | None = None) -> pa.Table:
    """The comparisons with everything that is known of them, by comparison id; see `current_judgments`.

    With sources, those that one of these sources has judged or delivered: the same comparison may come from several.
    """
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        if sources is None:
            return _current(connection, "comparisons", batches, None).to_arrow_table()
        connection.register("judged", _current(connection, "judgments", batches, sources).project("comparison_id").to_arrow_table())
        comparisons = _current(connection, "comparisons", batches, None)
        named = ", ".join(f"'{source}'" for source in sources)
        return comparisons.filter(f"source in ({named}) or comparison_id in (select comparison_id from judged)").to_arrow_table()


def batches_that_matter(batches: Sequence[Path], sources: Collection[str]) -> list[Path]:
    """Of a lake's batches those with judgments of these sources, and those that tell of the comparisons that they judge."""
    with duckdb.connect() as connection:
        found = connection.execute(
            MATTERING, {name: files_of(batches, file) for name, file in FILES.items()} | {"sources": sorted(sources)}
        )
        names = {Path(name).parent for (name,) in found.fetchall()}
    return [batch for batch in batches if batch in names]


MATTERING = """
with ours as (
    select filename, comparison_id from read_parquet($judgments, filename = true, hive_partitioning = false)
    where list_contains($sources, source)
)
select distinct filename from ours
union
select distinct filename from read_parquet($comparisons, filename = true, hive_partitioning = false)
where list_contains($sources, source) or comparison_id in (select comparison_id from ours)
"""


def views_version() -> str:
    """Hash of the views' SQL: part of the code version of every stage that reads them."""
    return content_hash([path.read_text() for path in sorted(SQL.glob("current_*.sql"))])[:8]


def _current(
    connection: duckdb.DuckDBPyConnection, records: str, batches: Sequence[Path], sources: Collection[str] | None
) -> duckdb.DuckDBPyRelation:
    files_read = "read_parquet($files, filename = true, hive_partitioning = false)"  # the date in the path is no column of a record
    counted = "" if sources is None else "where list_contains($sources, source)"
    rows = f"select list_position($files, filename) as batch, * exclude (filename) from {files_read} {counted}"
    view = (SQL / f"current_{records}.sql").read_text()
    parameters: dict[str, object] = {"files": files_of(batches, FILES[records])}
    if sources is not None:
        parameters["sources"] = sorted(sources)
    return connection.sql(f"with {records} as ({rows})\n{view}", params=parameters)

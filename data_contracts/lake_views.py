"""What stands in the lake: the current judgments and comparisons of a snapshot, as SQL over its batches."""

from collections.abc import Collection, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from data_contracts.feedback_lake import COMPARISONS, JUDGMENTS, files_of
from data_contracts.manifest import content_hash

SQL = Path(__file__).parent / "sql"
FILES = {"judgments": JUDGMENTS, "comparisons": COMPARISONS}


def open_current(connection: duckdb.DuckDBPyConnection, batches: Sequence[Path], sources: Collection[str] | None = None) -> None:
    """Make the views `current_judgments` and `current_comparisons` in a connection; nothing is read yet.

    Their rows come in no order. Times are in UTC, as the connection is from then on.

    Args:
        connection: where the views are made; they are gone with it.
        batches: the batches' directories in the snapshot's order, one at least; those up to a moment give what stood at that moment.
        sources: leave out the judgments of other sources, and comparisons that none of these has judged or delivered; by default
            none is left out.
    """
    connection.execute("set timezone = 'UTC'")
    for records, file in FILES.items():
        view = (SQL / f"current_{records}.sql").read_text()
        counted = "" if sources is None else f" where {COUNTED[records].format(sources=_listed(sources))}"
        connection.execute(f"create or replace temp view every_{records} as {_rows(batches, file)}")
        connection.execute(f"create or replace temp view current_{records} as select * from ({view}){counted}")


COUNTED = {
    "judgments": "source in ({sources})",
    "comparisons": "source in ({sources}) or comparison_id in (select comparison_id from current_judgments)",
}
"""Which records of some sources count: the same comparison may come from several."""


def current_judgments(batches: Sequence[Path], sources: Collection[str] | None = None) -> pa.Table:
    """The judgments that stand, by judgment id; see `open_current`."""
    return _current("judgments", batches, sources)


def current_comparisons(batches: Sequence[Path], sources: Collection[str] | None = None) -> pa.Table:
    """The comparisons with everything that is known of them, by comparison id; see `open_current`."""
    return _current("comparisons", batches, sources)


def count_current(batches: Sequence[Path], sources: Collection[str] | None = None) -> dict[str, int]:
    """How many judgments and comparisons stand, by `judgments` and `comparisons`; without batches none."""
    if not batches:
        return dict.fromkeys(FILES, 0)
    with duckdb.connect() as connection:
        open_current(connection, batches, sources)
        return {records: connection.sql(f"from current_{records}").count("*").fetchall()[0][0] for records in FILES}


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


def _current(records: str, batches: Sequence[Path], sources: Collection[str] | None) -> pa.Table:
    with duckdb.connect() as connection:
        open_current(connection, batches, sources)
        return connection.sql(f"from current_{records} order by {records[:-1]}_id").to_arrow_table()


def _rows(batches: Sequence[Path], file: str) -> str:
    """SQL for one file of all batches, with `batch`, the batch's place among them."""
    places = ", ".join(f"({_quoted(path)}, {place})" for place, path in enumerate(files_of(batches, file)))
    files = f"read_parquet([{_listed(files_of(batches, file))}], filename = true, hive_partitioning = false)"
    # The date in the path is no column of a record.
    return f"select batch, * exclude (batch, filename) from {files} join (values {places}) as places (filename, batch) using (filename)"


def _listed(texts: Collection[str]) -> str:
    return ", ".join(_quoted(text) for text in sorted(texts))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""What stands in the lake: the current judgments and comparisons of a snapshot, as SQL over its batches."""

from collections.abc import Collection, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from data_contracts.compaction import Segment, covered_by
from data_contracts.feedback_lake import COMPARISONS, JUDGMENTS, files_of
from data_contracts.manifest import content_hash
from data_contracts.records import COMPARISON, JUDGMENT
from data_contracts.sql_text import listed, quoted

SQL = Path(__file__).parent / "sql"
FILES = {"judgments": JUDGMENTS, "comparisons": COMPARISONS}
KINDS = {"judgments": JUDGMENT, "comparisons": COMPARISON}


def open_current(
    connection: duckdb.DuckDBPyConnection,
    batches: Sequence[Path],
    sources: Collection[str] | None = None,
    segments: Sequence[Segment] = (),
) -> None:
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
        counted = "" if sources is None else f" where {COUNTED[records].format(sources=listed(sorted(sources)))}"
        connection.execute(f"create or replace temp view every_{records} as {every_row(file, batches, segments)}")
        connection.execute(f"create or replace temp view current_{records} as select * from ({view}){counted}")


COUNTED = {
    "judgments": "source in ({sources})",
    "comparisons": "source in ({sources}) or comparison_id in (select comparison_id from current_judgments)",
}
"""Which records of some sources count: the same comparison may come from several."""


def current_judgments(batches: Sequence[Path], sources: Collection[str] | None = None, segments: Sequence[Segment] = ()) -> pa.Table:
    """The judgments that stand, by judgment id; see `open_current`."""
    return _current("judgments", batches, sources, segments)


def current_comparisons(batches: Sequence[Path], sources: Collection[str] | None = None, segments: Sequence[Segment] = ()) -> pa.Table:
    """The comparisons with everything that is known of them, by comparison id; see `open_current`."""
    return _current("comparisons", batches, sources, segments)


def count_current(batches: Sequence[Path], sources: Collection[str] | None = None, segments: Sequence[Segment] = ()) -> dict[str, int]:
    """How many judgments and comparisons stand, by `judgments` and `comparisons`; without batches none."""
    if not batches:
        return dict.fromkeys(FILES, 0)
    with duckdb.connect() as connection:
        open_current(connection, batches, sources, segments)
        return {records: connection.sql(f"from current_{records}").count("*").fetchall()[0][0] for records in FILES}


def batches_that_matter(batches: Sequence[Path], sources: Collection[str], segments: Sequence[Segment] = ()) -> list[Path]:
    """Of a lake's batches those with judgments of these sources, and those that tell of the comparisons that they judge."""
    with duckdb.connect() as connection:
        open_current(connection, batches, None, segments)
        found = connection.execute(MATTERING.format(sources=listed(sorted(sources)))).fetchall()
    return [batches[place] for (place,) in sorted(found)]


MATTERING = """
with ours as (select batch, comparison_id from every_judgments where source in ({sources}))
select batch from ours
union
select batch from every_comparisons where source in ({sources}) or comparison_id in (select comparison_id from ours)
"""


def views_version() -> str:
    """Hash of the views' SQL: part of the code version of every stage that reads them."""
    return content_hash([path.read_text() for path in sorted(SQL.glob("current_*.sql"))])[:8]


def every_row(file: str, batches: Sequence[Path], segments: Sequence[Segment] = ()) -> str:
    """SQL for the rows of one file of all batches, with `batch`, the batch's place among them."""
    apart = [path for path in batches if path.name not in covered_by(segments)]
    # The date in a batch's path is no column of a record.
    parts = [f"from read_parquet([{listed(sorted(str(segment.path / file) for segment in segments))}])"] if segments else []
    if apart:
        files = f"read_parquet([{listed(sorted(files_of(apart, file)))}], filename = true, hive_partitioning = false)"
        parts.append(f"select parse_filename(parse_dirpath(filename)) as batch_name, * exclude (filename) from {files}")
    places = ", ".join(f"({quoted(path.name)}, {place})" for place, path in enumerate(batches))
    rows = " union all by name ".join(parts)
    return f"select * exclude (batch_name) from ({rows}) join (values {places}) as places (batch_name, batch) using (batch_name)"


def _current(records: str, batches: Sequence[Path], sources: Collection[str] | None, segments: Sequence[Segment]) -> pa.Table:
    with duckdb.connect() as connection:
        open_current(connection, batches, sources, segments)
        columns = ", ".join(KINDS[records].schema.names)
        return connection.sql(f"select {columns} from current_{records} order by {records[:-1]}_id").to_arrow_table()

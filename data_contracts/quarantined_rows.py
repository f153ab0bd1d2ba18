"""The quarantine as it stands: which refused rows are still refused, and which were mended since."""

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.feedback_lake import QUARANTINED, FeedbackLake, files_of, files_read, ingest_time, mended_rows
from data_contracts.home import Home
from data_contracts.tombstones import Tombstones

DELIVERED = pa.schema(
    [
        pa.field("batch", pa.string()),
        pa.field("refused_at", pa.timestamp("us", tz="UTC")),
        pa.field("place", pa.int64()),
        pa.field("source", pa.string()),
        pa.field("source_file", pa.string()),
    ]
)

REFUSED = """
with refused as (
    select parse_filename(parse_dirpath(filename)) as batch, * exclude (filename)
    from read_parquet($files, filename = true, hive_partitioning = false)
),
latest as (
    select source, source_file, max(place) as place from delivered group by all
)
select batch, refused_at, source, source_file, source_row, reason, detail, raw, latest.place is not null as is_open
from refused
join delivered using (batch, source, source_file)
left join latest using (source, source_file, place)
order by is_open desc, source, source_file, source_row, refused_at
"""


def quarantined_rows(home: Home) -> pa.Table:
    """Every row that was ever refused: when, where it stood, why, as it was read, and whether it is still refused.

    A row is open (`is_open`) while the latest delivery of its file is the one that it was refused in, and nobody handed it in
    mended: a file that is delivered again settles the rows of the delivery before, and a mended row all that read as it did.
    One that is not open but reads as an open one of its source was not mended: it came again, and is open there (`came_again`).
    """
    batches = FeedbackLake(home.lake).batches()
    if not batches:
        return pa.table({name: pa.array([], pa.bool_()) for name in ("is_open", "came_again")})
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("delivered", pa.Table.from_pylist(list(_deliveries(home)), schema=DELIVERED))
        files = files_of([batch.path for batch in batches], QUARANTINED)
        found: pa.Table = connection.sql(REFUSED, params={"files": files}).to_arrow_table()
        connection.unregister("delivered")
    return _with_came_again(_without_mended(home, found))


def _without_mended(home: Home, rows: pa.Table) -> pa.Table:
    """The rows, those that were handed in mended no longer open; what was refused again just as it had been is open there."""
    last = {mended: batch.directory.name for batch in FeedbackLake(home.lake).batches() for mended in mended_rows(batch)}
    if not last:
        return rows
    fingerprint = Tombstones(home.tombstones).fingerprint
    still = [
        row["is_open"] and last.get(fingerprint(row["raw"]), row["batch"]) == row["batch"]
        for row in rows.select(["is_open", "raw", "batch"]).to_pylist()
    ]
    return rows.set_column(rows.schema.get_field_index("is_open"), "is_open", pa.array(still, pa.bool_()))


def _with_came_again(rows: pa.Table) -> pa.Table:
    """The rows, those told apart that are no longer open only because the same row was refused once more."""
    read = pc.binary_join_element_wise(rows["source"], rows["raw"], "\0")
    came_again = pc.and_(pc.invert(rows["is_open"]), pc.is_in(read, value_set=read.filter(rows["is_open"])))
    return rows.append_column("came_again", came_again)


def _deliveries(home: Home) -> Iterator[dict[str, object]]:
    """Which files each batch read."""
    for place, batch in enumerate(FeedbackLake(home.lake).batches()):
        for file in files_read(batch):
            where = {"source": file["source"], "source_file": file["source_file"]}
            yield {"batch": batch.directory.name, "refused_at": ingest_time(batch), "place": place, **where}

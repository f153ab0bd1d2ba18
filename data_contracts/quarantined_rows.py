"""The quarantine as it stands: which refused rows are still refused, and which were mended by a later delivery of their file."""

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from data_contracts.feedback_lake import QUARANTINED, FeedbackLake, files_of, files_read, ingest_time

DELIVERED = pa.schema(
    [
        pa.field("batch", pa.string()),
        pa.field("refused_at", pa.timestamp("us", tz="UTC")),
        pa.field("place", pa.int64()),
        pa.field("source", pa.string()),
        pa.field("source_file", pa.string()),
    ]
)

OPEN = """
with refused as (
    select parse_filename(parse_dirpath(filename)) as batch, * exclude (filename)
    from read_parquet($files, filename = true, hive_partitioning = false)
),
latest as (
    select source, source_file, max(place) as place from delivered group by all
)
select refused_at, source, source_file, source_row, reason, detail, raw, latest.place is not null as is_open
from refused
join delivered using (batch, source, source_file)
left join latest using (source, source_file, place)
order by is_open desc, source, source_file, source_row, refused_at
"""


def quarantined_rows(lake: FeedbackLake) -> pa.Table:
    """Every row that was ever refused: when, where it stood, why, as it was read, and whether it is still refused.

    A row is open (`is_open`) while the latest delivery of its file is the one that it was refused in: a file that is
    delivered again, mended, settles the rows of the delivery before.
    """
    batches = lake.batches()
    delivered = pa.Table.from_pylist(list(_deliveries(lake)), schema=DELIVERED)
    if not batches:
        return pa.table({"is_open": pa.array([], pa.bool_())})
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("delivered", delivered)
        found: pa.Table = connection.sql(OPEN, params={"files": files_of([batch.path for batch in batches], QUARANTINED)}).to_arrow_table()
        connection.unregister("delivered")
    return found


def _deliveries(lake: FeedbackLake) -> Iterator[dict[str, object]]:
    """Which files each batch read."""
    for place, batch in enumerate(lake.batches()):
        for file in files_read(batch):
            where = {"source": file["source"], "source_file": file["source_file"]}
            yield {"batch": batch.path.name, "refused_at": ingest_time(batch), "place": place, **where}

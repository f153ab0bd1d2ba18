"""The lake's records in the audit database: every row as it came, over the batches' own files, and what became of refused rows."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from data_contracts.artifact_store import Artifact
from data_contracts.audit.tables import add_relation, add_rows, file_of, no_rows
from data_contracts.expectations import ROWS_FILE
from data_contracts.feedback_lake import COMPARISONS, FINDINGS, JUDGMENTS, QUARANTINED
from data_contracts.home import Home
from data_contracts.quarantined_rows import quarantined_rows
from data_contracts.records import COMPARISON, EXPECTATION, FINDING, INT, JUDGMENT, QUARANTINE, TEXT, TIME, Column, RecordKind
from data_contracts.sql_text import listed

BATCH = Column("batch", TEXT, "the batch that the row came in")
LAKE_RECORDS = (
    ("judgment_revisions", JUDGMENT, JUDGMENTS),
    ("comparison_revisions", COMPARISON, COMPARISONS),
    ("refused_rows", QUARANTINE, QUARANTINED),
    ("findings", FINDING, FINDINGS),
    ("batch_expectations", EXPECTATION, ROWS_FILE),
)
"""Name of the relation, kind of its records, and the file of each batch that they stand in."""
QUARANTINE_STATE = RecordKind(
    "quarantine_state",
    grain="one row per row that was ever refused, without its content",
    key=("batch", "source", "source_file", "source_row"),
    columns=(
        Column("batch", TEXT, "the batch that it was refused in"),
        Column("source", TEXT, "name of the source in the recipe"),
        Column("source_file", TEXT, "name of the file that it was read from"),
        Column("source_row", INT, "number of the row in its file, counted from 1 without header lines"),
        Column("refused_at", TIME, "when the batch landed, in UTC"),
        Column("reason", TEXT, "reason code, such as `missing_verdict`"),
        Column(
            "is_open",
            pa.bool_(),
            "whether it is still refused; settled once its file was delivered again without it, or it was handed in mended",
        ),
        Column("came_again", pa.bool_(), "whether it is not open only because it was delivered again just as it had been; open there"),
    ),
)


def add_lake_records(connection: duckdb.DuckDBPyConnection, batches: Sequence[Artifact], *, materialise: bool) -> None:
    """Every record of every batch, as it came, with the name of its batch."""
    for name, kind, file in LAKE_RECORDS:
        columns = (BATCH, *kind.columns)
        paths = [path for path in (file_of(batch, file) for batch in batches) if path is not None]
        query = no_rows(connection, columns)
        if paths:
            names = ", ".join(f'"{column.name}"' for column in kind.columns)
            query = (
                f"select parse_filename(parse_dirpath(filename)) as batch, {names} "
                f"from read_parquet([{listed(paths)}], filename = true, hive_partitioning = false)"
            )
        add_relation(connection, name, query, f"{kind.grain}, as it came", columns, materialise=materialise)


def add_quarantine_state(connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    """Which refused rows still are, see `data_contracts.quarantined_rows`."""
    rows = quarantined_rows(home)
    names = QUARANTINE_STATE.schema.names
    add_rows(connection, QUARANTINE_STATE, rows.select(names).to_pylist() if rows.num_rows else [])

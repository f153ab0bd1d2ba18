"""Building the audit database: one DuckDB file, made anew from the lake, the artifacts and the nights.

It is built aside and renamed into place, so readers never meet a half-built file, never wait, and keep the old one for as long as
they have it open. Nothing in it is a source of truth. Large records are views over the lake's and the artifacts' own files, by
absolute path; what is small is kept in it.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from data_contracts.audit.bookkeeping import add_bookkeeping
from data_contracts.audit.definitions import create_definition, definitions
from data_contracts.audit.records import add_lake_records, add_quarantine_state
from data_contracts.audit.stage_tables import add_stage_tables
from data_contracts.audit.training_metrics import add_training_metrics
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.sharing.share import store_url
from data_contracts.sql_text import quoted

STORAGE_VERSION = "v1.0.0"
"""Written so that DuckDB clients of version 1 can read it, too."""


def rebuild_audit_database(home: Home, *, materialise: bool | None = None) -> Path:
    """Build the audit database anew and put it in place of the old one; gives its path.

    Args:
        home: the installation.
        materialise: keep the large records in the database as well, instead of views over files; by default where the home is a
            mirror of an object store. What is forgotten later is then gone from it with the next rebuild only.
    """
    home.share.refresh()  # other machines' nights are told of, too
    materialise = store_url(home.root) is not None if materialise is None else materialise
    target = home.audit_database
    with _turn(home):
        aside = target.with_name(f".{target.name}.aside")
        for left in target.parent.glob(f".{target.name}.*aside*"):
            left.unlink()  # of a rebuild that was killed; nobody else builds now
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            connection.execute(f"attach {quoted(aside)} as audit (storage_version '{STORAGE_VERSION}')")
            connection.execute("use audit")
            connection.begin()  # one flush to the disk for all, and not one for each comment
            _fill(connection, home, materialise=materialise)
            connection.commit()
            connection.execute("use memory")
            connection.execute("detach audit")
        # A client that wrote into the old file may have left changes beside it, which must not be taken for changes of the new one.
        target.with_name(f"{target.name}.wal").unlink(missing_ok=True)
        aside.replace(target)
    return target


@contextmanager
def _turn(home: Home) -> Iterator[None]:
    """One rebuild at a time, so that the last one in place has seen everything; a holder that dies frees the lock."""
    home.root.mkdir(parents=True, exist_ok=True)
    with (home.root / ".audit.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill(connection: duckdb.DuckDBPyConnection, home: Home, *, materialise: bool) -> None:
    batches = FeedbackLake(home.lake).batches()
    artifacts = list(home.artifacts)
    add_bookkeeping(connection, home, artifacts, batches, materialised=materialise)
    add_lake_records(connection, batches, materialise=materialise)
    add_quarantine_state(connection, home)
    add_stage_tables(connection, artifacts, materialise=materialise)
    add_training_metrics(connection, artifacts, materialise=materialise)
    for definition in definitions():
        create_definition(connection, definition)

"""Validate: the snapshot's records against their contracts; a broken critical one stops the night."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.contracts import SNAPSHOT_KINDS
from data_contracts.expectations import check
from data_contracts.feedback_lake import FINDINGS, FeedbackLake, Pinned, files_of
from data_contracts.home import Home
from data_contracts.lake_views import open_current, views_version
from data_contracts.manifest import Identity, library_versions
from data_contracts.parquet import write_records
from data_contracts.records import FINDING
from data_contracts.scratch import scratch_database
from tasks.stage import StageConfig, stage


class ValidateConfig(StageConfig):
    """The contract checks; they follow from the record definitions and have no settings."""


def validate(home: Home, config: ValidateConfig, *, snapshot: Artifact) -> Made:  # noqa: ARG001  (every stage takes a config)
    """Check a snapshot's current comparisons and judgments.

    Raises:
        StageError: a critical expectation failed, or a check crashed.
    """
    identity = Identity(
        kind="validation",
        code_version=f"{code_version('tasks.feedback.validate')}-{views_version()}",
        libraries=library_versions(("duckdb", "great_expectations", "polars", "pyarrow")),
        inputs=(snapshot.manifest.as_input("snapshot"),),
    )
    return home.artifacts.make(identity, lambda directory: _write_checks(directory, FeedbackLake(home.lake).pinned(snapshot)))


def _write_checks(directory: Path, pinned: Pinned) -> Headline:
    with scratch_database(directory) as connection:
        open_current(connection, *pinned)
        checkpoint = check(connection, {kind.name: f"current_{kind.name}s" for kind in SNAPSHOT_KINDS}, SNAPSHOT_KINDS)
    checkpoint.stop_if_critical(
        "the snapshot's current records",
        remedy="find the batch that brought the rows with the audit database, and correct or retract them at the source",
    )
    checkpoint.write(directory)
    write_records(FINDING, findings_of(pinned.batches), directory / FINDINGS)
    return {"expectations": len(checkpoint.checked), "failed_warnings": len(checkpoint.failed("warning"))}


def findings_of(batches: list[Path]) -> pa.Table:
    """The private data that was found in a snapshot's batches, by source, slice, column and kind."""
    files = [path for path in files_of(batches, FINDINGS) if Path(path).exists()]
    tables = [pq.read_table(path, schema=FINDING.schema) for path in files]
    counts = pl.DataFrame(pa.concat_tables([FINDING.table([]), *tables]))
    latest = [pl.col("action").last(), pl.col("n_findings").sum()]
    return counts.group_by(FINDING.key, maintain_order=True).agg(latest).sort(FINDING.key).to_arrow()


validate_stage = stage("validate")(validate)

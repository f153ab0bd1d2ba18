"""Validate: the snapshot's records against their contracts; a broken critical one stops the night."""

from dataclasses import asdict
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.errors import StageError, examples
from data_contracts.expectations import Checked, check
from data_contracts.feedback_lake import FINDINGS, FeedbackLake, Pinned, files_of
from data_contracts.home import Home
from data_contracts.lake_views import current_comparisons, current_judgments, views_version
from data_contracts.manifest import Identity, library_versions
from data_contracts.parquet import write_records, write_table
from data_contracts.records import COMPARISON, FINDING, JUDGMENT
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
        libraries=library_versions(("duckdb", "great_expectations", "pandas", "polars", "pyarrow")),
        inputs=(snapshot.manifest.as_input("snapshot"),),
    )
    return home.artifacts.make(identity, lambda directory: _write_checks(directory, FeedbackLake(home.lake).pinned(snapshot)))


def _write_checks(directory: Path, pinned: Pinned) -> Headline:
    checked = check_records(pl.DataFrame(current_comparisons(*pinned)), pl.DataFrame(current_judgments(*pinned)))
    write_table(pa.Table.from_pylist([asdict(one) for one in checked]), directory / "expectations.parquet")
    write_records(FINDING, findings_of(pinned.batches), directory / FINDINGS)
    failed = [one for one in checked if not one.success]
    if critical := [one for one in failed if one.severity == "critical"]:
        names = examples(f"{one.records}.{one.column} {one.expectation} ({one.n_unexpected} rows)" for one in critical)
        raise StageError(
            f"{len(critical)} of {len(checked)} contracts are broken: {names}",
            where="the snapshot's current records",
            remedy="find the batch that brought the rows with the audit database, and correct or retract them at the source",
        )
    return {"expectations": len(checked), "failed_warnings": len(failed)}


def findings_of(batches: list[Path]) -> pa.Table:
    """The private data that was found in a snapshot's batches, by source, slice, column and kind."""
    files = [path for path in files_of(batches, FINDINGS) if Path(path).exists()]
    tables = [pq.read_table(path, schema=FINDING.schema) for path in files]
    counts = pl.DataFrame(pa.concat_tables([FINDING.table([]), *tables]))
    latest = [pl.col("action").last(), pl.col("n_findings").sum()]
    return counts.group_by(FINDING.key, maintain_order=True).agg(latest).sort(FINDING.key).to_arrow()


def check_records(comparisons: pl.DataFrame, judgments: pl.DataFrame) -> list[Checked]:
    """Check current comparisons and judgments, and that every judgment's comparison is there."""
    texts_known = pl.all_horizontal(pl.col("prompt", "response_a", "response_b").is_not_null())
    known = pl.col("comparison_id").is_in(comparisons["comparison_id"].implode())
    comparisons, judgments = comparisons.with_columns(texts_known=texts_known), judgments.with_columns(comparison_known=known)
    return [*check(COMPARISON, comparisons.to_arrow()), *check(JUDGMENT, judgments.to_arrow())]


validate_stage = stage("validate")(validate)

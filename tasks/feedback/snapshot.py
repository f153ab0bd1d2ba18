"""Snapshot: which batches of the lake count tonight, as an ordered list of their digests."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, field_validator

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.errors import InputError
from data_contracts.feedback_lake import SNAPSHOT_FILE, FeedbackLake
from data_contracts.home import Home
from data_contracts.lake_views import current_comparisons, current_judgments, views_version
from data_contracts.manifest import Identity
from tasks.stage import StageConfig, stage


class SnapshotConfig(StageConfig):
    """Which feedback counts."""

    as_of: datetime | None = Field(default=None, description="leave out what was ingested after this moment (UTC unless it has an offset)")

    @field_validator("as_of")
    @classmethod
    def _in_utc(cls, moment: datetime | None) -> datetime | None:
        return moment and (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))


def take_snapshot(home: Home, config: SnapshotConfig) -> Made:
    """Pin the batches that brought rows; the same batches give the same snapshot, whatever moment it was asked for.

    Raises:
        InputError: no judgment was accepted yet, or none before the moment.
    """
    batches = FeedbackLake(home.lake).accepted(config.as_of)
    judgments = current_judgments([batch.path for batch in batches]).num_rows if batches else 0
    if not judgments:
        when = f" as of {config.as_of.isoformat()}" if config.as_of else ""
        raise InputError(
            f"the lake holds no judgment that stands{when}: the data set is empty",
            where=str(home.lake),
            remedy="check that the sources have rows, and read why rows were quarantined: `overnight show` lists the batches",
        )
    inputs = tuple(batch.manifest.as_input(f"batch {number}") for number, batch in enumerate(batches))
    identity = Identity(kind="snapshot", code_version=f"{code_version('tasks.feedback.snapshot')}-{views_version()}", inputs=inputs)
    return home.artifacts.make(identity, lambda directory: _write_snapshot(directory, batches, judgments))


def _write_snapshot(directory: Path, batches: Sequence[Artifact], judgments: int) -> Headline:
    (directory / SNAPSHOT_FILE).write_text(json.dumps({"batches": [batch.manifest.present_digest for batch in batches]}, indent=2) + "\n")
    comparisons = current_comparisons([batch.path for batch in batches])
    return {"batches": len(batches), "judgments": judgments, "comparisons": comparisons.num_rows}


snapshot_stage = stage("snapshot")(take_snapshot)

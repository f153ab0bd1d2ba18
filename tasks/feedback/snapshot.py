"""Snapshot: which batches of the lake count tonight, as an ordered list of their digests."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, field_validator

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.errors import InputError
from data_contracts.feedback_lake import SNAPSHOT_FILE, FeedbackLake, files_read, ingest_time
from data_contracts.home import Home
from data_contracts.lake_views import batches_that_matter, count_current, views_version
from data_contracts.manifest import Identity
from tasks.stage import StageConfig, stage


class SnapshotConfig(StageConfig):
    """Which feedback counts."""

    sources: tuple[str, ...] | None = Field(
        default=None, description="names of the sources whose judgments count; by default those of the recipe"
    )
    as_of: datetime | None = Field(default=None, description="leave out what was ingested after this moment (UTC unless it has an offset)")

    @field_validator("as_of")
    @classmethod
    def _in_utc(cls, moment: datetime | None) -> datetime | None:
        return moment and (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))


def take_snapshot(home: Home, config: SnapshotConfig) -> Made:
    """Pin the batches that brought rows of the sources; the same batches give the same snapshot, whatever moment it was asked for.

    Raises:
        InputError: no judgment was accepted yet, or none before the moment.
    """
    lake = FeedbackLake(home.lake)
    batches = lake.accepted(config.as_of)
    if config.sources is not None and batches:
        everything = lake.readable(batches)
        mattering = batches_that_matter(everything.batches, config.sources, everything.segments)
        batches = [batch for batch in batches if batch.path in mattering]
    counts = count_current(*lake.readable(batches, config.sources))
    if not counts["judgments"]:
        raise _nothing_counts(lake, config)
    inputs = tuple(batch.manifest.as_input(f"batch {number}") for number, batch in enumerate(batches))
    identity = Identity(
        kind="snapshot",
        code_version=f"{code_version('tasks.feedback.snapshot')}-{views_version()}",
        config={"sources": config.sources and sorted(config.sources)},
        inputs=inputs,
    )
    return home.artifacts.make(identity, lambda directory: _write_snapshot(directory, config.sources, batches, counts))


def _nothing_counts(lake: FeedbackLake, config: SnapshotConfig) -> InputError:
    """Why no judgment counts: none before the moment, none of these sources, or none at all."""
    where, everything = str(lake.root), lake.accepted()
    if everything and config.as_of and not lake.accepted(config.as_of):
        first = min(map(ingest_time, everything)).isoformat()
        what = f"nothing was ingested by {config.as_of.isoformat()} (snapshot.as_of): the first batch landed at {first}"
        return InputError(what, where=where, remedy="ask for a later moment")
    delivered = sorted({file["source"] for batch in everything for file in files_read(batch)})
    if config.sources is not None and delivered and not set(delivered) & set(config.sources):
        what = f"no judgment is of {', '.join(config.sources)} (snapshot.sources): the lake's sources are {', '.join(delivered)}"
        return InputError(what, where=where, remedy="name a source as the recipe names it under [[ingest.sources]]")
    when = f" as of {config.as_of.isoformat()}" if config.as_of else ""
    return InputError(
        f"the lake holds no judgment that stands{when}: the data set is empty",
        where=where,
        remedy="check that the sources have rows; `overnight quarantine` says why rows were refused",
    )


def _write_snapshot(directory: Path, sources: Sequence[str] | None, batches: Sequence[Artifact], counts: Mapping[str, int]) -> Headline:
    content = {"batches": [batch.manifest.present_digest for batch in batches], "sources": sources and sorted(sources)}
    (directory / SNAPSHOT_FILE).write_text(json.dumps(content, indent=2) + "\n")
    return {"batches": len(batches), **counts} | _rows(batches, sources)


def _rows(batches: Sequence[Artifact], sources: Sequence[str] | None) -> dict[str, int]:
    """How many rows the batches were read from, and how many of them were refused."""
    files = [file for batch in batches for file in files_read(batch) if sources is None or file["source"] in sources]
    return {name: sum(file[name] for file in files) for name in ("rows_read", "rows_quarantined")}


snapshot_stage = stage("snapshot")(take_snapshot)

"""Collecting what nothing needs any more: large files of old artifacts go, their manifests stay, so that no lineage is broken.

Kept whole are the artifacts that an alias points at, with everything that they were made from; those of the last nights of every
recipe; what is young, such as the stages of a night that was killed; and what is small, such as figures and gates, which trends over
years are made of. The feedback lake is never touched. A stage that needs a collected artifact again makes it again.
"""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from data_contracts.registry import lines
from tasks.stage import StageConfig

MEGABYTE = 1e6


class RetentionConfig(StageConfig):
    """What is kept."""

    keep_nights: int = Field(default=14, ge=1, description="nights of each recipe, the last ones, whose artifacts are kept whole")
    keep_days: float = Field(default=7.0, ge=0, description="days for which every artifact, checkpoint and log is kept whole")
    smallest: float = Field(default=1.0, ge=0, description="megabytes below which an artifact is kept whole, however old it is")


@dataclass(frozen=True)
class Candidate:
    """An artifact that nothing needs any more."""

    artifact: Artifact
    bytes: int


@dataclass(frozen=True)
class LeftOver:
    """A folder of checkpoints, or a log, that is past its days."""

    path: Path
    bytes: int


def candidates(home: Home, config: RetentionConfig, nights: Iterable[tuple[str, Iterable[str]]], now: datetime) -> list[Candidate]:
    """What `collect` would take the files of, the largest first.

    Args:
        home: the installation.
        config: what is kept.
        nights: recipe, and ids of the artifacts, of every night on record, oldest first.
        now: the present moment, with an offset.
    """
    every = {artifact.id: artifact for artifact in home.artifacts}
    needed = _behind_aliases(home, every) | _of_last_nights(nights, config.keep_nights)
    youngest = now - timedelta(days=config.keep_days)
    found = [
        Candidate(artifact, size)
        for artifact in every.values()
        if artifact.id not in needed
        and datetime.fromisoformat(artifact.manifest.created_at) < youngest
        and (size := sum(entry.size for entry in artifact.manifest.present_files)) >= max(config.smallest * MEGABYTE, 1)
    ]
    return sorted(found, key=lambda one: (-one.bytes, one.artifact.id))


def _behind_aliases(home: Home, every: dict[str, Artifact]) -> set[str]:
    """What the aliases point at, and everything that it was made from."""
    entries = [entry for _, registry in lines(home.registry) for _, entry in registry]
    waiting = [identifier for entry in entries for identifier in (entry.version_id, entry.policy_id)]
    needed: set[str] = set()
    while waiting:
        identifier = waiting.pop()
        if identifier in every and identifier not in needed:
            needed.add(identifier)
            waiting += [ref.id for ref in every[identifier].manifest.identity.inputs]
    return needed


def _of_last_nights(nights: Iterable[tuple[str, Iterable[str]]], keep: int) -> set[str]:
    by_recipe: dict[str, list[Iterable[str]]] = {}
    for recipe, artifacts in nights:
        by_recipe.setdefault(recipe, []).append(artifacts)
    return {identifier for own in by_recipe.values() for artifacts in own[-keep:] for identifier in artifacts}


def collect(home: Home, chosen: Iterable[Candidate], config: RetentionConfig, now: datetime) -> None:
    """Take the files of the chosen artifacts, and checkpoints and logs that are past their days; nothing else may be at work.

    The manifest says so first; what a kill leaves undone, the next run completes.
    """
    with TemporaryDirectory() as nothing:
        for one in chosen:
            manifest = one.artifact.manifest.model_copy(update={"collected_at": now.astimezone(UTC).isoformat(timespec="seconds")})
            home.share.redact(one.artifact.directory, Path(nothing), manifest)
    for artifact in home.artifacts:
        if artifact.manifest.collected_at:
            _remove_files(artifact)
    for left in left_over(home, config, now):
        shutil.rmtree(left.path) if left.path.is_dir() else left.path.unlink()
    home.share.sweep()


def _remove_files(artifact: Artifact) -> None:
    for entry in artifact.manifest.files:
        (artifact.directory / entry.path).unlink(missing_ok=True)
    for folder in sorted((path for path in artifact.directory.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):  # what somebody else put there stays
            folder.rmdir()


def left_over(home: Home, config: RetentionConfig, now: datetime) -> list[LeftOver]:
    """Checkpoints and logs that were last written before the days that they are kept for."""
    before, found = (now - timedelta(days=config.keep_days)).timestamp(), []
    for path in sorted([*home.work.glob("*"), *home.logs.glob("*")]):
        files = [inner.lstat() for inner in (path, *path.rglob("*"))]
        if max(file.st_mtime for file in files) < before:
            found.append(LeftOver(path, sum(file.st_size for file in files)))
    return found

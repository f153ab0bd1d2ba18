"""Where an installation keeps everything: one directory, the home."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data_contracts.artifact_store import ArtifactStore


@dataclass(frozen=True)
class Home:
    """The folders of one installation."""

    root: Path

    @property
    def artifacts(self) -> ArtifactStore:
        """Every stage's artifacts."""
        return ArtifactStore(self.root / "artifacts")

    @property
    def lake(self) -> Path:
        """The feedback lake's batches, see `data_contracts.feedback_lake`."""
        return self.root / "lake"

    @property
    def work(self) -> Path:
        """Checkpoints and logs of learning stages that are not finished, one folder per artifact id."""
        return self.root / "work"

    @property
    def registry(self) -> Path:
        """Aliases with their history."""
        return self.root / "registry"

    @property
    def tombstones(self) -> Path:
        """What was forgotten on request, see `data_contracts.tombstones`."""
        return self.root / "tombstones"

    @property
    def lock(self) -> Path:
        """Held by every night that runs, and by `overnight forget` alone."""
        return self.root / ".lock"

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep the home from being changed under a night; several nights may run together. A holder that dies frees it."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self.lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    @property
    def nights(self) -> Path:
        """One JSON record per night that ran."""
        return self.root / "nights"

    @property
    def audit_database(self) -> Path:
        """The DuckDB file that is rebuilt at the end of every night."""
        return self.root / "audit.duckdb"

    @property
    def report(self) -> Path:
        """A copy of the last night's report."""
        return self.root / "report.html"

    @property
    def prefect(self) -> Path:
        """Prefect's own home: its database and settings, apart from those of the user."""
        return self.root / "prefect"

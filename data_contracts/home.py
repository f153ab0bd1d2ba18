"""Where an installation keeps everything: one directory, the home."""

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

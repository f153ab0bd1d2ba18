"""Where an installation keeps everything: one directory, the home, whose shared folders may stand in an object store."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from data_contracts.artifact_store import ArtifactStore
from data_contracts.sharing.share import OneMachine, Share, share_of


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
    def logs(self) -> Path:
        """What learning stages said, one file per artifact."""
        return self.root / "logs"

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
        """Held by every night that runs, and by whoever is `alone`."""
        return self.root / ".lock"

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep the home from being changed under a night; several nights may run together.

        Whatever runs stages holds it, on every machine where it does.
        """
        with self.share.turn(self.lock, shared=True):
            self.refresh()
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the home to oneself: a night or an ingest that runs beside this would publish what it read before.

        Raises:
            StorageError: somebody is at work.
        """
        with ExitStack() as stack:
            for lock in (self.lock, self.tombstones / ".lock", self.lake / ".lock"):
                stack.enter_context(self.share.turn(lock, wait=False))
            for lock in self.work.glob("*.lock"):
                stack.enter_context(OneMachine().turn(lock, wait=False))
            yield

    @property
    def share(self) -> Share:
        """Where artifacts, lake, registry, tombstones and nights stand."""
        return share_of(self.root)

    def refresh(self) -> None:
        """Bring here what other machines published or changed."""
        changed = self.share.refresh()
        if any(path.parent == self.tombstones and path.match("[!.]*.json") for path in changed):
            self._drop_what_only_this_machine_has()

    def _drop_what_only_this_machine_has(self) -> None:
        """Remove where something may still stand that was forgotten elsewhere: nobody can tell where, and the next night makes it anew."""
        folders = (self.work, self.logs, self.artifacts.root / ".staging", self.lake / ".staging", self.lake / "compacted")
        there = [path for path in (*folders, self.report, self.audit_database) if path.exists()]
        for path in there:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if there:
            what = ", ".join(path.relative_to(self.root).as_posix() for path in there)
            print(f"overnight: removed {what}: something was forgotten on another machine; the next night makes it anew", file=sys.stderr)

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

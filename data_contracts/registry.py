"""The registry: aliases (`champion`, `candidate`, `previous`) that point at policies, each with its whole history.

Every recipe has a line of its own: policies of different recipes do not compete. An alias is one small JSON file, replaced
atomically. Nothing is ever taken out of a history: rolling back is one more entry.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_contracts.errors import IntegrityError

ALIASES = ("candidate", "champion", "previous")


class AliasEntry(BaseModel):
    """One move of an alias."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version_id: str = Field(description="id of the version artifact that was registered")
    policy_id: str = Field(description="id of the policy artifact that the alias points at")
    policy_digest: str = Field(description="digest of that policy; what was judged is exactly this")
    reason: str = Field(description="why the alias was moved")
    at: str = Field(description="UTC time of the move, ISO 8601")


class Registry:
    """The aliases below one folder: one line of policies."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def history(self, alias: str) -> list[AliasEntry]:
        """Every move of an alias, oldest first."""
        path = self._path(alias)
        if not path.exists():
            return []
        try:
            return [AliasEntry.model_validate(entry) for entry in json.loads(path.read_text())]
        except (ValueError, ValidationError) as error:
            raise IntegrityError(
                f"the history of alias {alias} cannot be read", where=str(path), remedy="restore it from a backup"
            ) from error

    def current(self, alias: str) -> AliasEntry | None:
        """Where an alias points now, or None where it was never set."""
        history = self.history(alias)
        return history[-1] if history else None

    def __iter__(self) -> Iterator[tuple[str, AliasEntry]]:
        """Every alias that is set, with its present entry."""
        for alias in ALIASES:
            if (entry := self.current(alias)) is not None:
                yield alias, entry

    def move(self, alias: str, *, version_id: str, policy_id: str, policy_digest: str, reason: str) -> AliasEntry:
        """Point an alias at a policy; moving it to where it already points changes nothing."""
        with self._lock():
            history = self.history(alias)
            if history and history[-1].version_id == version_id:
                return history[-1]
            entry = AliasEntry(
                version_id=version_id,
                policy_id=policy_id,
                policy_digest=policy_digest,
                reason=reason,
                at=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            self._write(alias, [*history, entry])
            return entry

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Have the aliases to oneself: two nights that end at once must not lose each other's moves. A holder that dies frees it."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def opponent_of(self, policy_digest: str) -> AliasEntry | None:
        """Whom a policy has to beat: the latest champion that is not this policy itself, or None on the first night.

        So a policy that was promoted is compared with the same opponent when its night is run again.
        """
        others = [entry for entry in self.history("champion") if entry.policy_digest != policy_digest]
        return others[-1] if others else None

    def _path(self, alias: str) -> Path:
        if alias not in ALIASES:
            raise KeyError(alias)
        return self.root / f"{alias}.json"

    def _write(self, alias: str, history: list[AliasEntry]) -> None:
        aside = self.root / f".{alias}.aside"  # the lock keeps others from it
        with aside.open("w") as file:
            json.dump([entry.model_dump() for entry in history], file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._path(alias))


def lines(root: Path) -> Iterator[tuple[str, Registry]]:
    """Every line below the registry's root, by name."""
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        yield folder.name, Registry(folder)

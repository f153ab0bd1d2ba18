"""The registry: aliases (`champion`, `candidate`, `previous`) that point at policies, each with its whole history.

Every recipe has a line of its own: policies of different recipes do not compete. An alias is one small JSON file, changed by what
stands in it at that moment: of two moves at once the second sees the first and decides again. Nothing is ever taken out of a
history: rolling back is one more entry.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_contracts.errors import IntegrityError
from data_contracts.sharing.share import share_of

SHORT = 16
"""Hex digits that stand for an id in a reason."""
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
        return _entries(path, path.read_text()) if path.exists() else []

    def current(self, alias: str) -> AliasEntry | None:
        """Where an alias points now, or None where it was never set."""
        history = self.history(alias)
        return history[-1] if history else None

    def __iter__(self) -> Iterator[tuple[str, AliasEntry]]:
        """Every alias that is set, with its present entry."""
        for alias in ALIASES:
            if (entry := self.current(alias)) is not None:
                yield alias, entry

    def move(self, alias: str, *, version_id: str, policy_id: str, policy_digest: str, reason: str) -> None:
        """Point an alias at a policy; moving it to where it already points changes nothing."""
        entry = AliasEntry(version_id=version_id, policy_id=policy_id, policy_digest=policy_digest, reason=reason, at=_now())
        self._add(alias, entry, lambda history: bool(history) and history[-1].version_id == version_id)

    def promote(self, *, version_id: str, policy_id: str, policy_digest: str, reason: str) -> None:
        """Make a version the champion, and the one that it replaces `previous`.

        A version that was champion before is not promoted again, so a rollback stays. A promotion that was killed half-way is
        completed when it is asked for again.
        """
        entry = AliasEntry(version_id=version_id, policy_id=policy_id, policy_digest=policy_digest, reason=reason, at=_now())
        self._add("champion", entry, lambda history: any(one.version_id == version_id for one in history))
        champions = self.history("champion")
        place = [one.version_id for one in champions].index(version_id)
        if 0 < place == len(champions) - 1:
            replaced = champions[place - 1].model_dump(include={"version_id", "policy_id", "policy_digest"})
            self.move("previous", **replaced, reason=f"replaced by {version_id[:SHORT]}")

    def _add(self, alias: str, entry: AliasEntry, is_done: Callable[[list[AliasEntry]], bool]) -> None:
        """One more entry, unless the history as it is at that moment says that there is nothing to do."""
        path = self._path(alias)

        def change(text: str | None) -> str | None:
            history = [] if text is None else _entries(path, text)
            return None if is_done(history) else json.dumps([one.model_dump() for one in [*history, entry]], indent=2)

        share_of(self.root).update(path, change)

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


def _entries(path: Path, text: str) -> list[AliasEntry]:
    try:
        return [AliasEntry.model_validate(entry) for entry in json.loads(text)]
    except (ValueError, ValidationError) as error:
        raise IntegrityError(
            f"the history of alias {path.stem} cannot be read", where=str(path), remedy="restore it from a backup"
        ) from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def lines(root: Path) -> Iterator[tuple[str, Registry]]:
    """Every line below the registry's root, by name."""
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        yield folder.name, Registry(folder)

"""The registry: aliases (`champion`, `candidate`, `previous`) that point at policies, and the history of who decided what, and why.

Every recipe has a line of its own: policies of different recipes do not compete. `candidate.json` tells every policy that was judged,
`champion.json` every decision about the champion: promotions, rollbacks and rejections. Each is one small JSON file, changed by what
stands in it at that moment: of two decisions at once the second sees the first, and only one can be right. Nothing is ever taken out
of a history: rolling back is one more entry. What was champion before is `previous`, and needs no file.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_contracts.errors import InputError, IntegrityError, examples
from data_contracts.manifest import InputRef
from data_contracts.sharing.share import share_of

SHORT = 16
"""Hex digits that stand for an id in a reason."""
ALIASES = ("candidate", "champion", "previous")
MOVED: Final = "moved"
ROLLED_BACK: Final = "rolled back"
REJECTED: Final = "rejected"
RECIPE: Final = "recipe"
"""Who decided, where a recipe's own rule did and no person."""
Standing = Literal["champion", "was champion", "rejected"]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


class AliasEntry(BaseModel):
    """One move of an alias, or the rejection of a version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version_id: str = Field(description="id of the version artifact that was registered")
    policy_id: str = Field(description="id of the policy artifact that the alias points at")
    policy_digest: str = Field(description="digest of that policy; what was judged is exactly this")
    reason: str = Field(description="why it was decided so")
    at: str = Field(default_factory=_now, description="UTC time of the decision, ISO 8601")
    by: str = Field(default="", description="who decided: a name, or `recipe` for the recipe's own rule; empty where it was not recorded")
    action: Literal["moved", "rolled back", "rejected"] = Field(default=MOVED, description="what was done; a rejection moves no alias")
    evidence: tuple[InputRef, ...] = Field(default=(), description="the evaluation and the gate that it was decided on")


class Registry:
    """The aliases below one folder: one line of policies."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def history(self, alias: str) -> list[AliasEntry]:
        """Every move of an alias, oldest first."""
        if alias == "previous":
            return [_replaced(before, after) for before, after in pairwise(self.history("champion"))]
        return _moves(self._entries(alias))

    def decisions(self) -> list[AliasEntry]:
        """Every decision about the champion, rejections among them, oldest first."""
        return self._entries("champion")

    def current(self, alias: str) -> AliasEntry | None:
        """Where an alias points now, or None where it was never set."""
        history = self.history(alias)
        return history[-1] if history else None

    def __iter__(self) -> Iterator[tuple[str, AliasEntry]]:
        """Every alias that is set, with its present entry."""
        for alias in ALIASES:
            if (entry := self.current(alias)) is not None:
                yield alias, entry

    def standing(self, policy_digest: str) -> Standing | None:
        """What was decided about a policy, or None where nothing was."""
        return _standing(self.decisions(), policy_digest)

    def move(self, alias: str, entry: AliasEntry) -> None:
        """Point an alias at a policy; moving it to where it already points changes nothing."""
        self._change(alias, lambda known: None if known and known[-1].version_id == entry.version_id else entry)

    def promote(self, entry: AliasEntry, *, instead_of: str | None) -> None:
        """Make a version the champion, in place of the one that it was judged against; a policy that ever was champion is left as it is.

        So a rollback stays, and of two promotions at once against the same champion one wins.

        Args:
            entry: the version, with who promotes it, why, and on which evidence.
            instead_of: digest of the champion that it was judged against, or None where there was none.

        Raises:
            InputError: the policy was rejected, or another one has become champion since.
        """

        def decide(known: list[AliasEntry]) -> AliasEntry | None:
            standing = _standing(known, entry.policy_digest)
            if standing == REJECTED:
                raise InputError(_rejected(known, entry.policy_digest), remedy="a rejected policy stays rejected: train another one")
            if standing is None:
                refuse_another_champion(known, entry.policy_digest, instead_of)
                return entry
            return None

        self._change("champion", decide)

    def reject(self, entry: AliasEntry) -> None:
        """Keep a policy from ever becoming champion; rejecting it again changes nothing.

        Raises:
            InputError: it is the champion.
        """

        def decide(known: list[AliasEntry]) -> AliasEntry | None:
            standing = _standing(known, entry.policy_digest)
            if standing == "champion":
                raise InputError(f"{entry.version_id[:SHORT]} is the champion", remedy="`overnight rollback` takes it back first")
            return None if standing == REJECTED else entry.model_copy(update={"action": REJECTED})

        self._change("champion", decide)

    def roll_back(self, policy_digest: str, *, reason: str, by: str) -> None:
        """Exchange champion and previous.

        Args:
            policy_digest: digest of the champion that is taken back, so that two who do it at once do it once.
            reason: why.
            by: who.

        Raises:
            InputError: it is not the champion, or there is no previous one that may be.
        """

        def decide(known: list[AliasEntry]) -> AliasEntry:
            moves = _moves(known)
            if not moves or moves[-1].policy_digest != policy_digest:
                raise InputError("it is not the champion, or not any more", remedy="`overnight show` tells who decided what")
            others = [one for one in moves if one.policy_digest != policy_digest]
            if not others:
                raise InputError("there is no previous champion to go back to", remedy="`overnight show` lists the aliases")
            if _standing(known, others[-1].policy_digest) == REJECTED:
                raise InputError(_rejected(known, others[-1].policy_digest), remedy="train and approve another policy")
            return others[-1].model_copy(update={"action": ROLLED_BACK, "reason": reason, "by": by, "at": _now()})

        self._change("champion", decide)

    def opponent_of(self, policy_digest: str) -> AliasEntry | None:
        """Whom a policy has to beat: the latest champion that is not this policy itself, or None on the first night.

        So a policy that was promoted is compared with the same opponent when its night is run again.
        """
        others = [entry for entry in self.history("champion") if entry.policy_digest != policy_digest]
        return others[-1] if others else None

    def _entries(self, alias: str) -> list[AliasEntry]:
        path = self._path(alias)
        return _read(path, path.read_text()) if path.exists() else []

    def _change(self, alias: str, decide: Callable[[list[AliasEntry]], AliasEntry | None]) -> None:
        """One more entry, as what stands there at that moment decides, or none."""
        path = self._path(alias)

        def change(text: str | None) -> str | None:
            known = [] if text is None else _read(path, text)
            entry = decide(known)
            return None if entry is None else json.dumps([one.model_dump(mode="json") for one in [*known, entry]], indent=2)

        share_of(self.root).update(path, change)

    def _path(self, alias: str) -> Path:
        if alias not in ALIASES:
            raise KeyError(alias)
        return self.root / f"{alias}.json"


def refuse_another_champion(known: list[AliasEntry], policy_digest: str, instead_of: str | None) -> None:
    """An `InputError` where the champion is not the one that a policy was judged against, and not the policy itself."""
    moves = _moves(known)
    now = moves[-1] if moves else None
    if (now and now.policy_digest) in (instead_of, policy_digest):
        return
    known_as = {one.policy_digest: f"champion {one.version_id[:SHORT]}" for one in moves}
    judged = known_as.get(instead_of, f"policy {instead_of[:SHORT]}") if instead_of else "no champion"
    is_now = f"{now.version_id[:SHORT]}, since {now.at}" if now else "none"
    raise InputError(
        f"the champion has changed: the policy was judged against {judged}, and the champion is {is_now}",
        remedy="run its night again: it is judged against the champion of now",
    )


def entry_of(root: Path, name: str) -> AliasEntry | None:
    """What a name such as `champion` or `RECIPE/champion` points at; None where it names no alias.

    Raises:
        InputError: the alias was never set, or several recipes have it.
    """
    line, _, alias = name.rpartition("/")
    if alias not in ALIASES:
        return None
    found = {of: entry for of, registry in lines(root) if line in ("", of) and (entry := registry.current(alias))}
    if len(found) != 1:
        which = f"several recipes have one: {examples(f'{of}/{alias}' for of in found)}" if found else "it was never set"
        raise InputError(f"there is no one {name}; {which}", remedy="`overnight show` lists the aliases")
    return next(iter(found.values()))


def lines(root: Path) -> Iterator[tuple[str, Registry]]:
    """Every line below the registry's root, by name."""
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        yield folder.name, Registry(folder)


def _moves(known: list[AliasEntry]) -> list[AliasEntry]:
    return [entry for entry in known if entry.action != REJECTED]


def _standing(known: list[AliasEntry], policy_digest: str) -> Standing | None:
    own = [entry for entry in known if entry.policy_digest == policy_digest]
    if not own:
        return None
    if any(entry.action == REJECTED for entry in own):
        return "rejected"
    return "champion" if _moves(known)[-1].policy_digest == policy_digest else "was champion"


def _rejected(known: list[AliasEntry], policy_digest: str) -> str:
    entry = next(one for one in known if one.policy_digest == policy_digest and one.action == REJECTED)
    return f"{entry.version_id[:SHORT]} was rejected by {entry.by} at {entry.at}: {entry.reason}"


def _replaced(before: AliasEntry, after: AliasEntry) -> AliasEntry:
    """The move of `previous` that a move of `champion` brings about."""
    return before.model_copy(
        update={"reason": f"replaced by {after.version_id[:SHORT]}", "at": after.at, "by": after.by, "action": after.action}
    )


def _read(path: Path, text: str) -> list[AliasEntry]:
    try:
        return [AliasEntry.model_validate(entry) for entry in json.loads(text)]
    except (ValueError, ValidationError) as error:
        raise IntegrityError(
            f"the history of alias {path.stem} cannot be read", where=str(path), remedy="restore it from a backup"
        ) from error

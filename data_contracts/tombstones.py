"""Tombstones: what was forgotten on request, when and why, without its content; and what must therefore not come back.

    <home>/tombstones/salt                  random, made once: ids of people stand here only as fingerprints, hashed with it
    <home>/tombstones/<tombstone id>.json   one per request

A fingerprint can be compared with the id or text of a row that is delivered again, and tells nobody else who or what it was.
"""

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from data_contracts.errors import IntegrityError
from data_contracts.manifest import content_hash
from data_contracts.sharing.share import share_of

FORGOTTEN = "[forgotten]"
"""Stands where something was erased and its place has to stay."""
FINGERPRINT_BYTES = 16


class Named(BaseModel):
    """An artifact, as a tombstone names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="what the artifact is")
    id: str = Field(description="its id")
    aliases: tuple[str, ...] = Field(default=(), description="aliases that ever pointed at it; `champion (now)` for one that still does")


class Tombstone(BaseModel):
    """One request to forget, as it was carried out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(description="random name of the request")
    at: str = Field(description="UTC time of the request, ISO 8601")
    completed_at: str | None = Field(default=None, description="UTC time at which everything was erased; null while that is not done")
    reason: str = Field(default="", description="why, in the words of who asked")
    annotators: tuple[str, ...] = Field(default=(), description="fingerprints of the annotators that were named, and of their pseudonyms")
    judgments: tuple[str, ...] = Field(default=(), description="fingerprints of every judgment that was erased")
    prompts: tuple[str, ...] = Field(default=(), description="ids of the prompts that were named; an id is a hash of the prompt")
    texts: tuple[str, ...] = Field(
        default=(), description="fingerprints of those prompts, as messages and as texts, and of erased raw rows"
    )
    rows: dict[str, int] = Field(default_factory=dict, description="rows erased, by file name")
    redacted: tuple[Named, ...] = Field(default=(), description="batches and artifacts that something was erased from")
    trained: tuple[Named, ...] = Field(default=(), description="models that had been trained on what was erased")


@dataclass(frozen=True)
class Blocked:
    """Fingerprints of what must not come back."""

    salt: bytes
    annotators: frozenset[str] = field(default_factory=frozenset)
    judgments: frozenset[str] = field(default_factory=frozenset)
    texts: frozenset[str] = field(default_factory=frozenset)

    def fingerprint(self, value: object) -> str:
        """Fingerprint of an id, a text or a prompt's messages."""
        return hashlib.blake2b(content_hash(value).encode(), key=self.salt, digest_size=FINGERPRINT_BYTES).hexdigest()

    def holds(self, known: frozenset[str], value: object) -> bool:
        """Whether a value is among those; None never is."""
        return bool(known) and value is not None and self.fingerprint(value) in known

    def __bool__(self) -> bool:
        return bool(self.annotators or self.judgments or self.texts)


class Tombstones:
    """The tombstones below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __iter__(self) -> Iterator[Tombstone]:
        """Every tombstone, oldest first."""
        found = [Tombstone.model_validate_json(path.read_text()) for path in self.root.glob("[!.]*.json")]
        yield from sorted(found, key=lambda one: (one.at, one.id))

    def blocked(self) -> Blocked:
        """What all tombstones together keep from coming back."""
        every = list(self)
        return Blocked(
            salt=self._salt() if every else b"none",
            annotators=frozenset(one for tombstone in every for one in tombstone.annotators),
            judgments=frozenset(one for tombstone in every for one in tombstone.judgments),
            texts=frozenset(one for tombstone in every for one in tombstone.texts),
        )

    def fingerprint(self, value: object) -> str:
        """See `Blocked.fingerprint`; the salt is made where there is none yet."""
        return Blocked(self._salt()).fingerprint(value)

    def write(self, tombstone: Tombstone) -> None:
        """Keep a tombstone, in place of its earlier state."""
        share_of(self.root).write(self.root / f"{tombstone.id}.json", tombstone.model_dump_json(indent=2) + "\n")

    def _salt(self) -> bytes:
        path = self.root / "salt"
        if not path.exists():
            if next(iter(self), None) is not None:
                raise IntegrityError(
                    "the tombstones' salt is missing: what was forgotten could not be told from what was not",
                    where=str(path),
                    remedy="restore the file from a backup",
                )
            share_of(self.root).update(path, lambda text: None if text else secrets.token_hex(32))
        return bytes.fromhex(path.read_text())

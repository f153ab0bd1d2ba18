"""The artifact store: immutable directories, each named by the hash of what made it.

An artifact is published in one step: its files are written to a temporary directory on the same file system, hashed,
flushed, the manifest is written last, and the directory is put in its place. So a kill at any moment leaves either a
whole artifact or none. Making an artifact that is already there does nothing. Where the home shares an object store
(`data_contracts.sharing`), its place is there as well, and files come here when they are asked for.
"""

import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from data_contracts.errors import FREE_SPACE, InputError, IntegrityError, StorageError, examples, is_disk_full
from data_contracts.manifest import MANIFEST_NAME, Identity, Manifest, digest_of, file_hash, list_files, read_manifest
from data_contracts.sharing.share import Share, flush, share_of

Headline = Mapping[str, str | int | float | bool | None]
"""The few figures that are shown for an artifact wherever it is listed."""

SHORT = 16
"""Hex digits of an id that name an artifact's directory and stand for it on screen."""
HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True)
class Artifact:
    """A published artifact, opened by id."""

    directory: Path
    """Where its manifest stands, and its files as far as they are on this machine."""
    manifest: Manifest

    @property
    def path(self) -> Path:
        """Its directory, with every file in it."""
        share = share_of(self.directory)
        for entry in self.manifest.present_files:
            share.fetch(self.directory, entry)
        return self.directory

    @property
    def id(self) -> str:
        """Hash of what made it, 64 hex digits."""
        return self.manifest.id

    @property
    def short_id(self) -> str:
        """The first digits of the id, as shown on screen."""
        return self.manifest.id[:SHORT]

    @property
    def digest(self) -> str:
        """Hash of its files, 64 hex digits."""
        return self.manifest.digest

    @property
    def kind(self) -> str:
        """What it is, such as `reward_model`."""
        return self.manifest.kind

    def file(self, name: str) -> Path:
        """Path of one of the artifact's files; an `IntegrityError` when it is not there."""
        for entry in self.manifest.present_files:
            if entry.path == name:
                share_of(self.directory).fetch(self.directory, entry)
        path = self.directory / name
        if self.manifest.collected_at:
            what = f"the files of {self.kind} {self.short_id} were removed on {self.manifest.collected_at}: nothing needed them any more"
            raise IntegrityError(what, where=str(self.directory), remedy="run the recipe that made it again")
        if not path.exists():
            raise IntegrityError(
                f"artifact {self.kind} {self.short_id} has no {name}", where=str(self.directory), remedy="run `overnight verify`"
            )
        return path

    def has(self, name: str) -> bool:
        """Whether it was published with such a file."""
        return any(entry.path == name for entry in self.manifest.files)


@dataclass(frozen=True)
class Made:
    """What a stage gave: its artifact, and whether it had been made before."""

    artifact: Artifact
    reused: bool


def open_artifact(path: Path) -> Artifact:
    """The artifact in a directory; an `IntegrityError` when its manifest cannot be read."""
    try:
        return Artifact(path, read_manifest(path))
    except (OSError, ValueError) as error:
        raise IntegrityError(
            "an artifact's manifest cannot be read", where=str(path), remedy="remove the directory and run again; it will be made anew"
        ) from error


def sweep(staging: Path) -> None:
    """Remove what processes of this machine that are gone left unfinished."""
    for left in staging.glob(f"*-{socket.gethostname()}-*-*"):
        pid = left.name.rsplit("-", 2)[1]
        if pid.isdigit() and not Path("/proc", pid).exists() and Path("/proc/self").exists():
            shutil.rmtree(left, ignore_errors=True)


def publish(
    identity: Identity,
    build: Callable[[Path], Headline],
    *,
    staging: Path,
    place: Callable[[Manifest], Path],
    series: str = "",
    number: int | None = None,
    share: Share | None = None,
    again: bool = False,
) -> Artifact:
    """Build an artifact aside and put it in its place.

    Args:
        identity: what decides the artifact's content.
        build: writes the artifact's files into the directory that it is given and returns the headline figures.
        staging: folder for unfinished artifacts, on the same file system as the place.
        place: the final directory, told from the manifest.
        series: what the artifact is numbered in, where it has a number.
        number: its number, see `Share.publish`.
        share: where it is published; by default where the home shares what it makes.
        again: whether it takes the place of one whose files were collected.

    Returns:
        The artifact now in place: this one, or an equal one that another process published first.

    Raises:
        StorageError: the disk is full or cannot be written; nothing is left behind.
        OvertakenError: the number was taken.
    """
    sweep(staging)
    aside = staging / f"{identity.id[:SHORT]}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    started = time.monotonic()
    try:
        aside.mkdir(parents=True)
        headline = build(aside)
        manifest = _seal(aside, identity, headline, time.monotonic() - started)
        destination = place(manifest)
        where = share or share_of(staging)
        if again:
            where.put_back(destination, aside, manifest)
        else:
            where.publish(aside, destination, series=series, number=number)
    except Exception as error:
        if is_disk_full(error) and not isinstance(error, StorageError):
            raise StorageError(
                f"the disk is full: {identity.kind} was not published and nothing was half-written",
                where=str(staging),
                remedy=f"{FREE_SPACE} and run again; finished stages are kept",
            ) from error
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return open_artifact(destination)


def _seal(directory: Path, identity: Identity, headline: Headline, seconds: float) -> Manifest:
    """Hash and flush every file, then write the manifest as the last one."""
    files = list_files(directory)
    manifest = Manifest(
        id=identity.id,
        digest=digest_of(files),
        identity=identity,
        files=files,
        headline=dict(headline),
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        seconds=round(seconds, 3),
    )
    (directory / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n")
    for path in (*(directory / entry.path for entry in files), directory / MANIFEST_NAME):
        path.chmod(0o444)
        flush(path)
    return manifest


def verify(artifact: Artifact) -> list[str]:
    """Re-hash an artifact; the differences found, in words (an empty list: it is as published, or as redacted since).

    Of a shared artifact the files that are on this machine are hashed, and all are looked for in the store, with their sizes.
    """
    manifest, wrong = artifact.manifest, []
    if manifest.id != manifest.identity.id:
        wrong.append("the id does not follow from the manifest's identity")
    if manifest.digest != digest_of(manifest.files):
        wrong.append("the digest does not follow from the manifest's file list")
    known = {entry.path: entry for entry in manifest.present_files}
    here = {p.relative_to(artifact.directory).as_posix() for p in artifact.directory.rglob("*") if p.is_file()} - {MANIFEST_NAME}
    there = share_of(artifact.directory).available(artifact.directory, manifest.present_files)
    wrong += [f"{path} is missing" for path in sorted(known.keys() - there)]
    wrong += [f"{path} was added" for path in sorted(here - known.keys())]
    wrong += [f"{path} was changed" for path in sorted(known.keys() & here) if file_hash(artifact.directory / path) != known[path].sha256]
    return wrong


class ArtifactStore:
    """Artifacts below one root: `<root>/<kind>/<first 16 digits of the id>/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, kind: str, artifact_id: str) -> Artifact | None:
        """The artifact of a kind with exactly this id, or None."""
        path = self.root / kind / artifact_id[:SHORT] / MANIFEST_NAME
        if not path.exists():
            share_of(self.root).look_for(path)
        return open_artifact(path.parent) if path.exists() else None

    def holds(self, kind: str, artifact_id: str) -> bool:
        """Whether the artifact is there with its files, and not collected: `make` gives it and builds nothing."""
        found = self.find(kind, artifact_id)
        return found is not None and not found.manifest.collected_at

    def make(self, identity: Identity, build: Callable[[Path], Headline]) -> Made:
        """The artifact with this identity: the one that is there with its files, or a new one that `build` writes (see `publish`)."""
        found = self.find(identity.kind, identity.id)
        if found is not None and not found.manifest.collected_at:
            return Made(found, reused=True)
        artifact = publish(
            identity,
            build,
            staging=self.root / ".staging",
            place=lambda manifest: self.root / manifest.kind / manifest.id[:SHORT],
            again=found is not None,
        )
        return Made(artifact, reused=False)

    def __iter__(self) -> Iterator[Artifact]:
        """Every artifact, by kind and id."""
        for path in sorted(self.root.glob(f"[!.]*/*/{MANIFEST_NAME}")):
            yield open_artifact(path.parent)

    def open(self, artifact_id: str) -> Artifact:
        """The artifact whose id begins with the given digits.

        Raises:
            InputError: none or several begin so.
        """
        paths = self._beginning(artifact_id)
        if not paths and share_of(self.root).refresh():
            paths = self._beginning(artifact_id)
        if len(paths) != 1 or not artifact_id:
            found = f"these do: {examples(path.name for path in paths)}" if paths else "none does"
            raise InputError(f"no single artifact's id begins with {artifact_id!r}; {found}", remedy="`overnight show` lists the ids")
        return open_artifact(paths[0])

    def _beginning(self, digits: str) -> list[Path]:
        """Directories of artifacts whose id begins so; what is no beginning of an id, a path say, finds nothing."""
        if not HEX.fullmatch(digits):
            return []
        return [path.parent for path in sorted(self.root.glob(f"[!.]*/{digits[:SHORT]}*/{MANIFEST_NAME}"))]

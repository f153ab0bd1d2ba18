"""A home's shared folders as a mirror of an object store.

    <url>/documents/<path in the home>                    manifests, aliases, tombstones, nights: small, and they may change
    <url>/documents/numbered/<series>/<number>.json       a document and its path, one per number: the batches of the lake
    <url>/files/<folder in the home>/<sha256>/<path>      the files of published directories: named by content, never changed
    <url>/locks/<path in the home>                        see `data_contracts.sharing.lease`

A directory is published when its manifest's document is created, after all its files; files without a manifest count as nothing.
Documents are brought here whole, as far as their versions differ (`refresh`); files when they are first asked for (`fetch`).
"""

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from uuid import uuid4

from data_contracts.errors import IntegrityError, StorageError
from data_contracts.manifest import MANIFEST_NAME, FileEntry, Manifest, file_hash, read_manifest
from data_contracts.sharing.bucket import Bucket
from data_contracts.sharing.lease import Lease
from data_contracts.sharing.share import OneMachine, OvertakenError, write_whole

DOCUMENTS, NUMBERED, FILES, LOCKS = "documents", "documents/numbered", "files", "locks"
INDEX = "index.json"
DIGITS = 16
"""Hex digits of a file's hash in its key."""
Entry = tuple[str, str]
"""What the index holds by a document's key: the version that is here, and its path in the home."""


class Mirror:
    """The shared folders of one home, and the store behind them; see `Share` for what each method promises."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self._here = OneMachine()
        self._private = root / ".mirror"
        self._leases: list[Lease] = []

    @cached_property
    def _bucket(self) -> Bucket:
        return Bucket(self.url)

    # --- from the store to here ---

    def refresh(self) -> Sequence[Path]:
        """Bring every document that changed here, and take away those that are gone."""
        with self._alone() as index:
            self._sweep_downloads()
            there = self._bucket.list(DOCUMENTS)
            gone = [self._place(index.pop(key)) for key in [*index] if key not in there]
            for path in gone:
                _drop(path)
            stale = [key for key, stored in there.items() if key not in index or not self._is_current(index[key], stored.version)]
            return gone + [self._keep(index, key, there[key].version, data) for key, data in self._bucket.read(stale).items()]

    def _is_current(self, entry: Entry, version: str) -> bool:
        return entry[0] == version and self._place(entry).exists()

    def _keep(self, index: dict[str, Entry], key: str, version: str, data: bytes) -> Path:
        """Put a document of the store in its place; files that a new manifest no longer names go first."""
        relative, text = key.removeprefix(f"{DOCUMENTS}/"), data.decode()
        if key.startswith(f"{NUMBERED}/"):
            relative, text = (json.loads(text)[name] for name in ("path", "text"))
        path = self.root / relative
        if path.name == MANIFEST_NAME and path.exists():
            with suppress(ValueError):  # what cannot be read is told of where it is opened
                _drop_changed(path.parent, Manifest.model_validate_json(text))
        write_whole(path, text)
        index[key] = (version, relative)
        return path

    def look_for(self, path: Path) -> None:
        """One read of one document."""
        key = self._document(path)
        if (version := self._bucket.look(key).version) is not None:
            with self._alone() as index:
                for data in self._bucket.read([key]).values():
                    self._keep(index, key, version, data)

    def fetch(self, directory: Path, entry: FileEntry) -> None:
        """Download a file that is not here yet, compare its hash and put it in its place."""
        target = directory / entry.path
        if target.exists():
            return
        aside = self._private / f"{os.getpid()}-{uuid4().hex}"
        aside.parent.mkdir(exist_ok=True)
        try:
            self._download(self._key(directory, entry), aside, entry)
            with self._alone():
                if entry not in read_manifest(directory).present_files:
                    raise StorageError(f"{entry.path} was changed while it was fetched", where=str(directory), remedy="run again")
                target.parent.mkdir(parents=True, exist_ok=True)
                aside.chmod(0o444)
                aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)

    def _download(self, key: str, path: Path, entry: FileEntry) -> None:
        try:
            self._bucket.download(key, path)
        except FileNotFoundError as error:
            what, remedy = f"the store lacks {key}", "run again; if it stays so, `overnight verify` lists what is damaged"
            raise IntegrityError(what, where=self.url, remedy=remedy) from error
        if file_hash(path) != entry.sha256:
            raise IntegrityError(
                f"{key} differs from what was published", where=self.url, remedy="restore the object, or remove its artifact"
            )

    def available(self, directory: Path, entries: Iterable[FileEntry]) -> set[str]:
        """The files whose objects are there in their size."""
        stored = self._bucket.list(f"{FILES}/{self._relative(directory)}")
        keys = {self._key(directory, entry): entry for entry in entries}
        return {entry.path for key, entry in keys.items() if key in stored and stored[key].size == entry.size}

    # --- from here to the store ---

    def next_number(self, series: str) -> int | None:
        """One more than the last number that this mirror knows."""
        with self._alone() as index:
            return 1 + max((int(Path(key).stem) for key in index if Path(key).parent == Path(NUMBERED, series)), default=0)

    def publish(self, aside: Path, destination: Path, *, series: str = "", number: int | None = None) -> None:
        """Upload the files, then create the manifest's document where there is none: that is the moment of publication.

        A number is taken by the same write. So two that land at once never both count, even where a lock was lost.
        """
        self._check()
        path, text = destination / MANIFEST_NAME, (aside / MANIFEST_NAME).read_text()
        self._upload(aside, destination, read_manifest(aside).files)
        if number is None:
            key, data = self._document(path), text.encode()
        else:
            key = f"{NUMBERED}/{series}/{number:08d}.json"
            data = json.dumps({"path": self._relative(path), "text": text}).encode()
        self._check()
        version = self._bucket.create(key, data)
        if version is None:
            self.refresh()
            if number is not None:
                raise OvertakenError
            return  # another machine published the same first, and its artifact stays
        with self._alone() as index:
            if not path.exists():  # what has no manifest counts as nothing
                shutil.rmtree(destination, ignore_errors=True)
            self._here.publish(aside, destination)
            index[key] = (version, self._relative(path))

    def redact(self, directory: Path, aside: Path, manifest: Manifest) -> None:
        """Upload the new files, put the new manifest in the store, then change what is here; `sweep` deletes the old files."""
        self._check()
        self._upload(aside, directory, [entry for entry in manifest.present_files if (aside / entry.path).exists()])
        self._write(
            directory / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n", lambda: self._here.redact(directory, aside, manifest)
        )

    def put_back(self, directory: Path, aside: Path, manifest: Manifest) -> None:
        """Upload the files, then put the new manifest in the store and all of it here."""
        self._check()
        self._upload(aside, directory, manifest.files)
        self._write(
            directory / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n", lambda: self._here.put_back(directory, aside, manifest)
        )

    def write(self, path: Path, text: str) -> None:
        """To the store, then here."""
        self._write(path, text, lambda: write_whole(path, text))

    def _write(self, path: Path, text: str, here: Callable[[], None]) -> None:
        with self._alone() as index:
            relative = self._relative(path)
            key = next((key for key, (_, place) in index.items() if place == relative), self._document(path))
            numbered = Path(NUMBERED) in Path(key).parents
            data = json.dumps({"path": relative, "text": text}) if numbered else text
            version = self._bucket.write(key, data.encode())
            here()
            index[key] = (version, relative)

    def update(self, path: Path, change: Callable[[str | None], str | None]) -> None:
        """Compare and swap: read, decide, and write only over the version that was read; else from the beginning."""
        self._check()
        key = self._document(path)
        with self._alone() as index:
            while True:
                look, data = self._bucket.look_and_read(key)
                version, text = look.version, change(None if data is None else data.decode())
                if text is not None:
                    data = text.encode()
                    version = self._bucket.swap(key, data, look.version)
                if data is None:
                    return  # there is nothing, and nothing is wanted
                if version is not None:
                    self._keep(index, key, version, data)
                    return
                time.sleep(random.uniform(0.01, 0.2))  # noqa: S311

    def remove(self, path: Path) -> None:
        """From the store, then here."""
        with self._alone() as index:
            key = self._document(path)
            self._bucket.delete([key])
            path.unlink(missing_ok=True)
            index.pop(key, None)

    def sweep(self) -> None:
        """Delete every file that no manifest names."""
        self.refresh()
        with self._alone() as index:
            manifests = [self._place(entry) for entry in index.values() if entry[1].endswith(f"/{MANIFEST_NAME}")]
            named = {self._key(path.parent, entry) for path in manifests for entry in read_manifest(path.parent).present_files}
            self._bucket.delete([key for key in self._bucket.list(FILES) if key not in named])

    @contextmanager
    def turn(self, lock: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
        """First among the processes of this home, then among all machines."""
        with self._here.turn(lock, shared=shared, wait=wait):
            lease = Lease(self._bucket, f"{LOCKS}/{self._relative(lock)}", shared=shared)
            with lease.held(wait=wait):
                self._leases.append(lease)
                try:
                    yield
                finally:
                    self._leases.remove(lease)

    # --- helpers ---

    def _check(self) -> None:
        """Commit nothing once a lock may have been lost."""
        for lease in self._leases:
            lease.check()

    def _upload(self, aside: Path, directory: Path, entries: Iterable[FileEntry]) -> None:
        """Upload files that are not there yet: an object is whole or not there, and its key tells its content."""
        there = self._bucket.list(f"{FILES}/{self._relative(directory)}")
        for entry in entries:
            if (key := self._key(directory, entry)) not in there:
                self._bucket.upload(aside / entry.path, key)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _document(self, path: Path) -> str:
        return f"{DOCUMENTS}/{self._relative(path)}"

    def _key(self, directory: Path, entry: FileEntry) -> str:
        return f"{FILES}/{self._relative(directory)}/{entry.sha256[:DIGITS]}/{entry.path}"

    def _place(self, entry: Entry) -> Path:
        return self.root / entry[1]

    @contextmanager
    def _alone(self) -> Iterator[dict[str, Entry]]:
        """Keep other processes of this home from the mirror; gives the index, which is written when the block ends."""
        path = self._private / INDEX
        with self._here.turn(self._private / ".lock"):
            index: dict[str, Entry] = (
                {key: (version, place) for key, (version, place) in json.loads(path.read_text()).items()} if path.exists() else {}
            )
            before = dict(index)
            try:
                yield index
            finally:
                if index != before:
                    write_whole(path, json.dumps(index))

    def _sweep_downloads(self) -> None:
        """Remove what killed processes had downloaded."""
        for left in self._private.glob("[0-9]*-*"):
            if not Path("/proc", left.name.partition("-")[0]).exists():
                left.unlink(missing_ok=True)


def _drop(path: Path) -> None:
    """Take a document away that left the store; a manifest takes its directory with it."""
    if path.name == MANIFEST_NAME:
        shutil.rmtree(path.parent, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _drop_changed(directory: Path, manifest: Manifest) -> None:
    """Remove the files of a directory that its new manifest knows with other content: something in them was forgotten."""
    now = {entry.path: entry for entry in manifest.present_files}
    for entry in read_manifest(directory).present_files:
        if now.get(entry.path) != entry:
            (directory / entry.path).unlink(missing_ok=True)

"""What a home asks of the place where its shared folders stand, and how that is done on one machine alone.

Everything that reads, reads local files. What is published, changed or locked goes through a `Share`: `OneMachine` where the
home keeps everything itself, `Mirror` (see `data_contracts.sharing.mirror`) where it shares an object store with others. Which
it is, is told by the file `overnight-store.json` in the home.
"""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol

from data_contracts.errors import BusyError, RecipeError
from data_contracts.manifest import MANIFEST_NAME, FileEntry, Manifest

STORE_FILE = "overnight-store.json"
SHARED_FOLDERS = ("artifacts", "lake", "registry", "tombstones", "nights")


class OvertakenError(Exception):
    """Another process published under the same number meanwhile; what this one built may rest on what is no longer so."""


class Share(Protocol):
    """Where shared folders stand."""

    def refresh(self) -> Sequence[Path]:
        """Bring what others published or changed here; the documents that changed."""
        ...

    def look_for(self, path: Path) -> None:
        """Bring one document here that another machine may have made since the last `refresh`."""
        ...

    def fetch(self, directory: Path, entry: FileEntry) -> None:
        """Have a file of a published directory on this machine."""
        ...

    def available(self, directory: Path, entries: Iterable[FileEntry]) -> set[str]:
        """Which files of a published directory can be had."""
        ...

    def next_number(self, series: str) -> int | None:
        """The number after the last one that this machine knows of; None where nothing needs numbers."""
        ...

    def publish(self, aside: Path, destination: Path, *, series: str = "", number: int | None = None) -> None:
        """Put a finished directory in its place, its manifest last; where one stands there already, that one stays.

        With a number it counts only if nobody took that number of the series before; else it is `OvertakenError`.
        """
        ...

    def redact(self, directory: Path, aside: Path, manifest: Manifest) -> None:
        """Put a new manifest in place of a published one, and then those files that lie aside."""
        ...

    def put_back(self, directory: Path, aside: Path, manifest: Manifest) -> None:
        """Give a published directory whose files were collected those that lie aside, its new manifest last."""
        ...

    def write(self, path: Path, text: str) -> None:
        """Write a small document, whatever stood there."""
        ...

    def update(self, path: Path, change: Callable[[str | None], str | None]) -> None:
        """Change a small document by what stands in it at that moment: `change` is asked again when another was faster.

        It is given None where there is no document, and gives None where nothing is to be changed.
        """
        ...

    def remove(self, path: Path) -> None:
        """Remove a small document."""
        ...

    def sweep(self) -> None:
        """Delete what belongs to nothing, such as files of interrupted publications; only for who has everything to himself."""
        ...

    def turn(self, lock: Path, *, shared: bool = False, wait: bool = True) -> AbstractContextManager[None]:
        """Have something to oneself, or with others who share it; a `BusyError` where others have it and none waits."""
        ...


def share_of(folder: Path) -> Share:
    """The share that a home's folder, or a folder below it, belongs to."""
    for root in (folder, *folder.parents):
        if (url := store_url(root)) is not None:
            return _mirror(root, url)
    return OneMachine()


def store_url(root: Path) -> str | None:
    """The URL of the store that a home shares, or None."""
    try:
        return str(json.loads((root / STORE_FILE).read_text())["url"])
    except (FileNotFoundError, NotADirectoryError):
        return None


def join(root: Path, url: str) -> None:
    """Have a home share an object store from now on.

    Raises:
        RecipeError: it is no URL of a store; the home has another one, or keeps its artifacts itself.
        StorageError: the storage cannot be used.
    """
    from data_contracts.sharing.bucket import Bucket, check_url

    url = check_url(url)
    if (known := store_url(root)) == url:
        return
    if known is not None or any((root / folder).exists() for folder in SHARED_FOLDERS):
        what = f"this home shares {known} already" if known else "this home keeps its artifacts itself"
        raise RecipeError(f"{what} and cannot share {url}", where=str(root), remedy="give another --home; one store can have many")
    Bucket(url).check_conditions()
    write_whole(root / STORE_FILE, json.dumps({"url": url}) + "\n")


@cache
def _mirror(root: Path, url: str) -> Share:
    from data_contracts.sharing.mirror import Mirror

    return Mirror(root, url)


class OneMachine:
    """Shared folders that stand on this machine only: renames make publications whole, the kernel's file locks give turns."""

    def refresh(self) -> Sequence[Path]:
        """Nothing comes from elsewhere."""
        return ()

    def look_for(self, path: Path) -> None:
        """What is not here is nowhere."""

    def fetch(self, directory: Path, entry: FileEntry) -> None:
        """Every file is here, or nowhere."""

    def available(self, directory: Path, entries: Iterable[FileEntry]) -> set[str]:
        """The files that are there."""
        return {entry.path for entry in entries if (directory / entry.path).is_file()}

    def next_number(self, series: str) -> int | None:  # noqa: ARG002
        """File locks suffice."""
        return None

    def publish(self, aside: Path, destination: Path, *, series: str = "", number: int | None = None) -> None:  # noqa: ARG002
        """Rename it into place; an equal one that another process published first stays."""
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.rename(destination)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return  # another process published the same artifact first: same id, same content
        flush(destination.parent)

    def redact(self, directory: Path, aside: Path, manifest: Manifest) -> None:
        """The manifest first, which says what the files are going to be; then file after file."""
        self.write(directory / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")
        (directory / MANIFEST_NAME).chmod(0o444)
        for entry in manifest.present_files:
            if (aside / entry.path).exists():
                (aside / entry.path).replace(directory / entry.path)
        flush(directory)

    def put_back(self, directory: Path, aside: Path, manifest: Manifest) -> None:
        """File after file, then the manifest: until then they count as nothing."""
        for entry in manifest.files:
            (directory / entry.path).parent.mkdir(parents=True, exist_ok=True)
            (aside / entry.path).replace(directory / entry.path)
        flush(directory)
        self.write(directory / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")
        (directory / MANIFEST_NAME).chmod(0o444)

    def write(self, path: Path, text: str) -> None:
        """See `write_whole`."""
        write_whole(path, text)

    def update(self, path: Path, change: Callable[[str | None], str | None]) -> None:
        """Under a lock: two nights that end at once must not lose each other's moves."""
        with self.turn(path.with_name(f".{path.name}.lock")):
            text = change(path.read_text() if path.exists() else None)
            if text is not None:
                write_whole(path, text)

    def remove(self, path: Path) -> None:
        """Unlink it."""
        path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Unfinished publications are swept by the next one."""

    @contextmanager
    def turn(self, lock: Path, *, shared: bool = False, wait: bool = True) -> Iterator[None]:
        """A lock of the kernel's: a holder that dies frees it."""
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("a") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                who = lock.read_text() or "another process"
                raise BusyError(f"{who} is at work here", where=str(lock.parent), remedy="wait for its end") from error
            file.truncate(0)
            if not shared:
                file.write(f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
                file.flush()
            yield


def write_whole(path: Path, text: str) -> None:
    """Write a small file so that a kill leaves the old one or the new one, on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.aside")
    with aside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Bring a file or a directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

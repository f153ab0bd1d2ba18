"""Bytes of source files: plain, gzip, bzip2 or zstd, on disk or copied out of an archive, always as a stream."""

import bz2
import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tarfile import TarError
from typing import Any, BinaryIO

import pyarrow as pa

from data_contracts.errors import InputError, StorageError, is_disk_full

CHECK_PATH = "check the source's path in the recipe, or give --data"
COPY_AGAIN = "export or copy the file again"
COMPRESSIONS = (".gz", ".bz2", ".zst")
BUFFER = 2**18
"""Bytes of a file that are read ahead."""


@dataclass(frozen=True)
class Member:
    """A member of an archive, and the temporary copy of it that is read while the archive is open."""

    archive: Path
    member: str
    copy: Path

    @property
    def name(self) -> str:
        """The member's name without its folders."""
        return PurePosixPath(self.member).name

    def __str__(self) -> str:
        return f"{self.archive}/{self.member}"


File = Path | Member
"""Where rows are read from; its text says where that is, in messages."""


@contextmanager
def reading(file: File) -> Iterator[None]:
    """Turn whatever goes wrong with a file as a whole into an `InputError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError("a source file is missing", where=str(file), remedy=CHECK_PATH) from error
    except (OSError, EOFError, zlib.error, pa.ArrowException, csv.Error, zipfile.BadZipFile, TarError) as error:
        if is_disk_full(error):
            raise StorageError("the disk is full", where=str(file), remedy="free space in the folder for temporary files") from error
        raise InputError(f"a source file cannot be read: {error}", where=str(file), remedy=COPY_AGAIN) from error


def on_disk(file: File) -> Path:
    """Where a file's bytes lie."""
    return file.copy if isinstance(file, Member) else file


class Reached:
    """How far files on disk have been read, whatever their bytes expand to."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._places = dict.fromkeys(files, 0)
        self.total = sum(path.stat().st_size for path in self._places)

    def note(self, path: Path, place: int) -> None:
        """A file has been read up to a place; other files, such as copies of members, do not count."""
        if path in self._places:
            self._places[path] = max(self._places[path], place)

    @property
    def done(self) -> int:
        """Bytes read."""
        return sum(self._places.values())


_followers: list[Reached] = []


@contextmanager
def following(files: Iterable[Path]) -> Iterator[Reached]:
    """How far these files are read while the block runs, from its beginning."""
    reached = Reached(files)
    _followers.append(reached)
    try:
        yield reached
    finally:
        _followers.remove(reached)


def note(path: Path, place: int) -> None:
    """Tell whoever follows that a file has been read up to a place."""
    for reached in _followers:
        reached.note(path, place)


class _Followed(io.FileIO):
    """A file on disk that tells how far it has been read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path

    def readinto(self, buffer: Any) -> int | None:
        count = super().readinto(buffer)
        note(self._path, self.tell())
        return count


class _Expanding(io.BufferedReader):
    """Expanded bytes of a file; it closes the file with itself."""

    def __init__(self, expanded: Any, file: BinaryIO) -> None:
        super().__init__(expanded)
        self._file = file

    def close(self) -> None:
        super().close()
        self._file.close()


def open_bytes(file: File) -> BinaryIO:
    """A file's bytes, expanded by the suffix of its name; a broken or cut-off stream is an error while it is read."""
    raw = io.BufferedReader(_Followed(on_disk(file)), BUFFER)
    match PurePosixPath(file.name).suffix:
        case ".gz":
            return _Expanding(gzip.GzipFile(fileobj=raw), raw)
        case ".bz2":
            return _Expanding(bz2.BZ2File(raw), raw)
        case ".zst":
            return _Expanding(pa.CompressedInputStream(pa.PythonFile(raw), "zstd"), raw)
    return raw


def bare_name(name: str) -> str:
    """A file's name without the suffix of its compression."""
    return name.removesuffix(next((suffix for suffix in COMPRESSIONS if name.endswith(suffix)), ""))

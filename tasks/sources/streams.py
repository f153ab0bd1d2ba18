"""Bytes of source files: plain, gzip, bzip2 or zstd, on disk or copied out of an archive, always as a stream."""

import bz2
import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tarfile import TarError
from typing import BinaryIO, cast

import pyarrow as pa

from data_contracts.errors import InputError, StorageError, is_disk_full

CHECK_PATH = "check the source's path in the recipe, or give --data"
COPY_AGAIN = "export or copy the file again"
COMPRESSIONS = (".gz", ".bz2", ".zst")


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


def open_bytes(file: File) -> BinaryIO:
    """A file's bytes, expanded by the suffix of its name; a broken or cut-off stream is an error while it is read."""
    path = on_disk(file)
    match PurePosixPath(file.name).suffix:
        case ".gz":
            return io.BufferedReader(gzip.GzipFile(path, "rb"))
        case ".bz2":
            return cast(BinaryIO, bz2.open(path, "rb"))
        case ".zst":
            return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return path.open("rb")


def bare_name(name: str) -> str:
    """A file's name without the suffix of its compression."""
    return name.removesuffix(next((suffix for suffix in COMPRESSIONS if name.endswith(suffix)), ""))

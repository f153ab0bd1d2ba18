"""Members of zip and tar archives, copied out one at a time, with everything that an archive may do to its reader refused.

An archive is refused as a whole when a member would leave the folder it is unpacked in, is a link, a device or encrypted, or when
it expands to more than the limits: what a member declares is not believed, the bytes are counted as they come.
"""

import fnmatch
import re
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from data_contracts.errors import InputError
from tasks.sources.streams import COMPRESSIONS, Member, note, open_bytes, reading

ARCHIVES = (".zip", ".tar", ".tgz", *(f".tar{suffix}" for suffix in COMPRESSIONS))
CHUNK = 2**20


@dataclass(frozen=True)
class Limits:
    """How far an archive may expand."""

    members: int = 10_000
    member_bytes: int = 8 * 2**30
    total_bytes: int = 32 * 2**30
    ratio: int = 300
    """Expanded bytes per byte of the archive; exports of text compress to a tenth or less, a bomb to a thousandth."""
    free_bytes: int = 64 * 2**20
    """Up to this much expands whatever its ratio."""


LIMITS = Limits()


class Meter:
    """Counts what an archive expands to, and refuses it beyond the limits."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self.archive, self.limits, self.total = archive, limits, 0
        self.members = 0

    def next_member(self) -> None:
        """One more entry, whether it is read or not."""
        self.members += 1
        if self.members > self.limits.members:
            raise refused(self.archive, f"it has more than {self.limits.members} members")

    def count(self, n_bytes: int, of_member: int, name: str) -> None:
        """More bytes of a member, of which there are `of_member` so far."""
        self.total += n_bytes
        if of_member > self.limits.member_bytes:
            raise refused(self.archive, f"member {name} expands to more than {self.limits.member_bytes} bytes")
        if self.total > self.limits.total_bytes:
            raise refused(self.archive, f"it expands to more than {self.limits.total_bytes} bytes")
        if self.total > max(self.limits.free_bytes, self.limits.ratio * self.archive.stat().st_size):
            raise refused(self.archive, f"it expands more than {self.limits.ratio} times")


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive."""
    return path.name.endswith(ARCHIVES)


def members(archive: Path, wanted: str | None, is_rows: Callable[[str], bool], limits: Limits | None = None) -> Iterator[Member]:
    """The members with rows, in the archive's order, each readable until the next one is asked for.

    Args:
        archive: a zip or tar file.
        wanted: name, folder or pattern of the members to read; by default all.
        is_rows: whether a file of this name may hold rows; others (a README, a licence) are passed over.
        limits: how far the archive may expand.
    """
    meter = Meter(archive, limits or LIMITS)
    met: set[str] = set()
    entries = _zip_entries if archive.name.endswith(".zip") else _tar_entries
    with tempfile.TemporaryDirectory(prefix="overnight-") as folder, reading(archive):
        for name, stream in entries(archive, meter, lambda name: is_rows(name) and _matches(name, wanted)):
            if name in met:
                raise InputError("the archive holds two members of one name", where=f"{archive}/{name}", remedy="pack it anew")
            met.add(name)
            copy = Path(folder) / "member"
            _copy(stream, copy, name, meter)
            yield Member(archive, name, copy)


def _copy(stream: IO[bytes], target: Path, name: str, meter: Meter) -> None:
    done = 0
    with target.open("wb") as copy:
        while chunk := stream.read(CHUNK):
            done += len(chunk)
            meter.count(len(chunk), done, name)
            copy.write(chunk)


def _matches(name: str, wanted: str | None) -> bool:
    """Whether a member is picked; a hidden one only by its own name."""
    if wanted is None or name == wanted:
        return name == wanted or not _is_hidden(name)
    return not _is_hidden(name) and (name.startswith(f"{wanted}/") or fnmatch.fnmatchcase(name, wanted))


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def _zip_entries(path: Path, meter: Meter, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            meter.next_member()
            kind = stat.S_IFMT(entry.external_attr >> 16)
            name = _safe_name(path, entry.orig_filename)
            if entry.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise refused(path, f"member {name} is a link or a device")
            if entry.flag_bits & 1:
                raise refused(path, f"member {name} is encrypted")
            if is_wanted(name):
                try:
                    with archive.open(entry) as stream:
                        yield name, stream
                except NotImplementedError as error:
                    raise refused(path, f"member {name} is compressed in a way that is not supported") from error
                note(path, entry.header_offset + entry.compress_size)
    note(path, path.stat().st_size)


def _tar_entries(path: Path, meter: Meter, is_wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    """Read as a stream from its beginning to its end: what is passed over is expanded too, and so it counts."""
    with _tar_bytes(path) as raw, tarfile.open(fileobj=_Counted(raw, path, meter), mode="r|") as archive:  # type: ignore[call-overload]
        for entry in archive:
            meter.next_member()
            name = _safe_name(path, entry.name)
            if entry.isdir():
                continue
            if not entry.isreg():
                raise refused(path, f"member {name} is a link or a device")
            if is_wanted(name) and (stream := archive.extractfile(entry)) is not None:
                yield name, stream


def _tar_bytes(path: Path) -> IO[bytes]:
    return open_bytes(Member(path, f"{path.stem}.tar.gz" if path.suffix == ".tgz" else path.name, path))


class _Counted:
    """A tar's expanded bytes, each chunk counted: its headers and members that are passed over may be a bomb as well."""

    def __init__(self, raw: IO[bytes], archive: Path, meter: Meter) -> None:
        self.raw, self.archive = raw, archive
        self.own = Meter(archive, meter.limits)

    def read(self, size: int) -> bytes:
        chunk = self.raw.read(size)
        self.own.count(len(chunk), 0, "")
        return chunk


def _safe_name(archive: Path, name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or "\0" in name or "\\" in name or name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", name):
        raise refused(archive, f"the name of member {name!r:.80} leads out of the archive")
    return "/".join(part for part in parts if part != ".")


def refused(archive: Path, why: str) -> InputError:
    """An archive that is not read."""
    return InputError(f"the archive is refused: {why}", where=str(archive), remedy="unpack it yourself, and name the files in the recipe")

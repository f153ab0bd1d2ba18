"""What a source's path stands for: a file, a folder, a pattern, an archive, or members of an archive.

| path | what is read |
|---|---|
| `feedback.jsonl.gz` | this file |
| `exports` | every file with rows below the folder, hidden ones left out, by name |
| `exports/2026-*.csv` | the files that fit the pattern; `**` stands for any folders |
| `export.zip`, `export.tar.gz` | every member with rows |
| `export.zip/inner/rows.jsonl` | this member |
| `export.zip/inner/*.jsonl`, `export.zip/inner` | the members that fit the pattern, or lie in the folder |
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_contracts.errors import InputError
from tasks.sources.archives import ARCHIVES, is_archive, members
from tasks.sources.streams import CHECK_PATH, COMPRESSIONS, File, bare_name

KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
SIGNS = "*?["


@dataclass(frozen=True)
class Place:
    """A source's path, taken apart."""

    base: Path
    """The folder that the files' names are relative to."""
    files: tuple[Path, ...]
    selection: str | None = None
    """Which members of an archive are read; None for all."""


def has_rows(name: str) -> bool:
    """Whether a file of this name may hold rows."""
    return bare_name(name).endswith(KINDS)


def locate(path: Path) -> Place:
    """The files that a path stands for.

    Raises:
        InputError: there is none.
    """
    if path.is_dir():
        return _some(path, Place(path, _below(path)))
    if path.exists():
        return _some(path, Place(path.parent, (path,) if _is_readable(path) else ()))
    for parent in path.parents:
        if parent.is_file() and is_archive(parent):
            return Place(parent.parent, (parent,), path.relative_to(parent).as_posix())
    return _some(path, _pattern(path))


def _pattern(path: Path) -> Place:
    """The files that fit a pattern, whose names are relative to the last folder before its first sign."""
    fixed = next((i for i, part in enumerate(path.parts) if any(sign in part for sign in SIGNS)), None)
    if fixed is None:
        return Place(path.parent, ())
    base = Path(*path.parts[:fixed])
    found = base.glob(str(Path(*path.parts[fixed:]))) if base.is_dir() else iter(())
    return Place(base, tuple(sorted(file for file in found if file.is_file() and _is_readable(file))))


def _below(folder: Path) -> tuple[Path, ...]:
    visible = (file for file in folder.rglob("[!.]*") if not any(part.startswith(".") for part in file.relative_to(folder).parts))
    return tuple(sorted(file for file in visible if file.is_file() and _is_readable(file)))


def _is_readable(file: Path) -> bool:
    return is_archive(file) or has_rows(file.name)


def _some(path: Path, place: Place) -> Place:
    if not place.files:
        if not path.exists() and not any(sign in str(path) for sign in SIGNS):
            raise InputError("a source file is missing: there is no file of this name", where=str(path), remedy=CHECK_PATH)
        kinds = f"{', '.join(KINDS)} (plain or with {', '.join(COMPRESSIONS)}), or {', '.join(ARCHIVES)}"
        raise InputError(f"there is no file ending in {kinds}", where=str(path), remedy=CHECK_PATH)
    return place


def files(path: Path) -> list[Path]:
    """Every file on disk that a path stands for; an archive is one file."""
    return list(locate(path).files)


def selection(path: Path) -> str | None:
    """Which members of an archive a path picks; it decides what is read beside the files' bytes."""
    return None if path.exists() else locate(path).selection


def file_name(path: Path, file: Path) -> str:
    """A file's name in records: relative to the source's folder."""
    base = path if path.is_dir() else path.parent if path.exists() else locate(path).base
    return file.relative_to(base).as_posix()


def opened(path: Path) -> Iterator[tuple[str, File]]:
    """Every file with rows and its name in records; a member of an archive is readable until the next one is asked for.

    Raises:
        InputError: there is none, or an archive is refused.
    """
    place = locate(path)
    found = False
    for file in place.files:
        name = file.relative_to(place.base).as_posix()
        for inner in members(file, place.selection, has_rows) if is_archive(file) else (file,):
            found = True
            yield name if isinstance(inner, Path) else f"{name}/{inner.member}", inner
    if not found:
        raise InputError("the archive has no such file with rows", where=str(path), remedy=CHECK_PATH)

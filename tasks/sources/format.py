"""What a format is, and how one whose files are tables of rows is read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from data_contracts.errors import InputError, examples
from tasks.sources import places, rows
from tasks.sources.files import Parsed, printable, rows_of
from tasks.sources.rows import BadRow, Judged, Row

SAMPLED = 100


@dataclass(frozen=True)
class Sample:
    """What a format is told by: a source's files and the first rows of one of them."""

    files: frozenset[str]
    """The files' names, without folders."""
    rows: tuple[Mapping[str, Any], ...]

    @property
    def columns(self) -> frozenset[str]:
        """The columns that some row has."""
        return frozenset(str(column) for row in self.rows for column in row)

    def has(self, *columns: str) -> bool:
        """Whether every one of these columns is there."""
        return self.columns.issuperset(columns)

    def lists(self, column: str) -> bool:
        """Whether the column holds lists wherever it holds anything, and holds something."""
        found = [row[column] for row in self.rows if row.get(column) is not None]
        return bool(found) and all(isinstance(value, list) for value in found)


@dataclass(frozen=True)
class Format:
    """How one format is told and read."""

    about: str
    """Its documentation: what it is, an example row and what this gives."""
    detected_by: str
    recognises: Callable[[Sample], bool]
    files: Callable[[Path], list[Path]]
    """Every file that a source at a path consists of; their hashes stand for the delivery."""
    parse: Callable[[Path, str | None], Iterator[tuple[str, Row]]]
    """The file name and content of each source row, given the path and the slice of rows that name none."""


class TableModule(Protocol):
    """A module that reads one row at a time."""

    @property
    def DETECTED_BY(self) -> str:  # noqa: D102, N802
        ...

    def recognises(self, sample: Sample, /) -> bool: ...  # noqa: D102

    def judged(self, row: Mapping[str, Any], default_slice: str | None, /) -> tuple[Judged, ...]: ...  # noqa: D102


def table(module: TableModule) -> Format:
    """The format of a module whose files are tables, each row of which stands for itself."""

    def parse(path: Path, default_slice: str | None) -> Iterator[tuple[str, Row]]:
        for name, row in checked_rows(path, module.recognises, module.DETECTED_BY):
            yield name, row if isinstance(row, BadRow) else rows.read_row(*row, make=lambda content: module.judged(content, default_slice))

    return Format(module.__doc__ or "", module.DETECTED_BY, module.recognises, places.files, parse)


def checked_rows(path: Path, recognises: Callable[[Sample], bool], detected_by: str) -> Iterator[tuple[str, Parsed | BadRow]]:
    """The rows of every file of a source, once its first rows were found to be of the format.

    Raises:
        InputError: a file cannot be read, or has other columns.
    """
    for name, file in places.opened(path):
        parsed = rows_of(file)
        first = list(islice(parsed, SAMPLED))
        sample = Sample(frozenset({file.name}), contents(first))
        if sample.rows and not recognises(sample):
            raise InputError(
                f"the file is not in the source's format, which is told by {detected_by}; its columns are {columns_in_words(sample)}",
                where=str(file),
                remedy='choose the format that fits the file, or "auto"',
            )
        for row in chain(first, parsed):
            yield name, row


def contents(found: list[Parsed | BadRow]) -> tuple[Mapping[str, Any], ...]:
    """The rows that could be parsed into named values."""
    return tuple(row[2] for row in found if not isinstance(row, BadRow) and isinstance(row[2], dict))


def columns_in_words(sample: Sample) -> str:
    """A sample's columns, for a message."""
    return examples(map(printable, sorted(sample.columns))) or "none"

"""The formats that feedback is read from: one small file each, and the list of them.

A format turns a path into source rows. Each row gives one comparison with its judgments, as the source wrote them, or the
reason why it cannot: a bad row is never an error. A file that is missing, unreadable or has the wrong columns is one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.sources import llmfao, native, pandalm
from tasks.sources.rows import Row


@dataclass(frozen=True)
class Format:
    """How one format is read."""

    files: Callable[[Path], list[Path]]
    """Every file that a source at a path consists of; their hashes stand for the delivery."""
    parse: Callable[[Path, str | None], Iterator[tuple[str, Row]]]
    """The file name and content of each source row, given the path and the slice of rows that name none."""


FORMATS = {
    "native": Format(native.files, native.parse),
    "llmfao": Format(llmfao.files, llmfao.parse),
    "pandalm": Format(pandalm.files, pandalm.parse),
}

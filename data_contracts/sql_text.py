"""Texts and files as parts of an SQL statement, where DuckDB takes no parameter: in views, macros, settings and lists of files."""

from collections.abc import Iterable
from pathlib import Path


def quoted(text: object) -> str:
    """A text as SQL."""
    return "'" + str(text).replace("'", "''") + "'"


def listed(texts: Iterable[object]) -> str:
    """Texts as an SQL list's content, in their order."""
    return ", ".join(map(quoted, texts))


def parquet(*files: str | Path) -> str:
    """Parquet files as one relation; what their folders are called makes no column."""
    return f"read_parquet([{listed(files)}], hive_partitioning = false)"

"""`overnight quarantine`: why rows were refused, with examples, and the rows themselves, to be mended and delivered again."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Column, Table

from data_contracts.errors import InputError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.quarantined_rows import quarantined_rows

LONGEST_EXAMPLE = 200
"""Characters of a refused row that are shown."""


def show_quarantine(root: Path, *, source: str | None, reason: str | None, examples: int, export: Path | None) -> None:
    """Print the open rows by source and reason, with examples; or write them, as they were read, to files.

    Args:
        root: the home.
        source: only rows of this source.
        reason: only rows refused for this reason.
        examples: rows shown per source and reason.
        export: a folder for one file of raw rows per source file, to be mended and delivered again in its place.
    """
    rows = pl.DataFrame(quarantined_rows(FeedbackLake(Home(root).lake)))
    console = Console()
    if rows.is_empty():
        console.print("nothing was ever refused")
        return
    wanted = [pl.col(name) == value for name, value in (("source", source), ("reason", reason)) if value is not None]
    rows = rows.filter(*wanted) if wanted else rows
    still = rows.filter("is_open")
    if export is not None:
        for path, count in export_rows(still, export):
            console.print(f"{count} rows  {path}", soft_wrap=True, highlight=False)
        return
    console.print(_table(still, examples))
    console.print(f"{still.height} rows are refused; {rows.height - still.height} refused before were settled by later deliveries")


def export_rows(rows: pl.DataFrame, folder: Path) -> Sequence[tuple[Path, int]]:
    """Write the raw rows of each source file to a file of its own; gives the paths with their counts of rows.

    Raises:
        InputError: a file is there already; what was mended in it is not overwritten.
    """
    written = []
    for (source, file), group in rows.group_by("source", "source_file", maintain_order=True):
        path = folder / str(source) / f"{str(file).replace('/', '_')}.refused"
        if path.exists():
            raise InputError("the file to export to is there already", where=str(path), remedy="move it away, or give another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{raw}\n" for raw in group["raw"]))
        written.append((path, group.height))
    return written


def _table(rows: pl.DataFrame, examples: int) -> Table:
    table = Table("source", "reason", Column("rows", justify="right"), "since", "examples", title="quarantine", title_justify="left")
    for (source, reason), group in rows.group_by("source", "reason", maintain_order=True):
        shown = "\n".join(map(_example, group.head(examples).to_dicts()))
        since = group["refused_at"].cast(pl.String).min()
        table.add_row(str(source), str(reason), str(group.height), str(since)[:16], shown)
    return table


def _example(row: dict[str, object]) -> str:
    return f"{row['source_file']}:{row['source_row']} {row['detail']}\n  {str(row['raw'])[:LONGEST_EXAMPLE]}"

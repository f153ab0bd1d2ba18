"""`overnight quarantine`: why rows were refused, with examples, and the rows themselves, to be mended and taken back."""

from pathlib import Path

import polars as pl
from rich.table import Column, Table

from data_contracts.audit.build import rebuild_audit_database
from data_contracts.home import Home
from data_contracts.quarantined_rows import quarantined_rows
from flows.console import new_console
from flows.recipe import load_recipe
from tasks.feedback.mending import hand_out, take_back

LONGEST_EXAMPLE = 200
"""Characters of a refused row that are shown."""


def show_quarantine(root: Path, *, source: str | None, reason: str | None, examples: int, export: Path | None) -> None:
    """Print the open rows by source and reason, with examples; or write them to files.

    Args:
        root: the home.
        source: only rows of this source.
        reason: only rows refused for this reason.
        examples: rows shown per source and reason.
        export: a folder for one file of refused rows per source file, to be mended and taken back.
    """
    home, console = Home(root), new_console()
    rows = pl.DataFrame(quarantined_rows(home))
    if rows.is_empty():
        console.print("nothing was ever refused")
        return
    wanted = [pl.col(name) == value for name, value in (("source", source), ("reason", reason)) if value is not None]
    rows = rows.filter(*wanted) if wanted else rows
    still = rows.filter("is_open")
    if export is not None:
        for path, count in hand_out(home, still, export):
            console.print(f"{count} rows  {path}", soft_wrap=True, highlight=False)
        return
    console.print(_table(still, examples))
    settled = rows.filter(~pl.col("is_open") & ~pl.col("came_again"))
    console.print(f"{still.height} rows are refused; {settled.height} refused before were settled since")


def take_back_and_tell(root: Path, folder: Path, recipe_name: str) -> bool:
    """Ingest a folder of mended rows by a recipe's sources, and print what became of them; whether any of them is no longer refused."""
    home, console = Home(root), new_console()
    recipe = load_recipe(recipe_name)
    with home.at_work():
        made = take_back(home, recipe.ingest, folder)
        rebuild_audit_database(home)
    told = made.artifact.manifest.headline
    counts = " · ".join(f"{told[f'rows_{fate}']} {fate}" for fate in ("read", "accepted", "known", "quarantined"))
    console.print(f"{'taken back before' if made.reused else 'taken back'}: rows {counts}")
    if told["rows_quarantined"] == told["rows_read"]:
        console.print("every row is refused as before: mend `row` in the lines of the files, or the recipe, and take them back again")
    return told["rows_quarantined"] != told["rows_read"]


def _table(rows: pl.DataFrame, examples: int) -> Table:
    table = Table("source", "reason", Column("rows", justify="right"), "since", "examples", title="quarantine", title_justify="left")
    for (source, reason), group in rows.group_by("source", "reason", maintain_order=True):
        shown = "\n".join(map(_example, group.head(examples).to_dicts()))
        since = group["refused_at"].cast(pl.String).min()
        table.add_row(str(source), str(reason), str(group.height), str(since)[:16], shown)
    return table


def _example(row: dict[str, object]) -> str:
    return f"{row['source_file']}:{row['source_row']} {row['detail']}\n  {str(row['raw'])[:LONGEST_EXAMPLE]}"

"""Mending: refused rows are handed out to be looked at, and taken back in, mended or read anew by code that was mended.

    <folder>/<source>/<file>.refused.jsonl one refused row per line: {"fingerprint", "source_row", "reason", "detail", "row"}

Only `row` is read when the folder is taken back. A row may be given up by removing its line: then it stays refused.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import polars as pl

from data_contracts.artifact_store import Made
from data_contracts.errors import InputError, RecipeError, examples
from data_contracts.home import Home
from data_contracts.tombstones import FORGOTTEN, Tombstones
from tasks.feedback.ingest import IngestConfig, SourceConfig, ingest

SUFFIX = ".refused.jsonl"


class HandedBack(NamedTuple):
    """The rows of one file, as they were handed back."""

    source: str
    name: str
    fingerprints: list[str]
    rows: list[object]
    """Each the content of a source row, or a text where the row could not be parsed."""


def hand_out(home: Home, rows: pl.DataFrame, folder: Path) -> list[tuple[Path, int]]:
    """Write refused rows to one file per source file; gives the paths with their counts of rows.

    Args:
        home: the installation.
        rows: some of `data_contracts.quarantined_rows.quarantined_rows`.
        folder: where the files go.

    Raises:
        InputError: a file is there already; what was mended in it is not overwritten.
    """
    fingerprint = Tombstones(home.tombstones).fingerprint
    written = []
    for (source, file), group in rows.filter(pl.col("raw") != FORGOTTEN).group_by("source", "source_file", maintain_order=True):
        path = folder / str(source) / (str(file).replace("/", "_").removesuffix(SUFFIX) + SUFFIX)
        if path.exists():
            raise InputError("the file to export to is there already", where=str(path), remedy="move it away, or give another folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            {"fingerprint": fingerprint(row["raw"])}
            | {name: row[name] for name in ("source_row", "reason", "detail")}
            | {"row": _parsed(row["raw"])}
            for row in group.iter_rows(named=True)
        ]
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        written.append((path, group.height))
    return written


def take_back(home: Home, config: IngestConfig, folder: Path) -> Made:
    """Ingest the rows of a folder that was handed out, each file as its source; they settle the refused rows that they were.

    Private data is screened as ever. Annotators are not made pseudonyms again: where the recipe asks for these, refused rows hold
    them already.

    Raises:
        InputError: the folder holds no such file, or one that cannot be read.
        RecipeError: a file's source is not in the recipe.
    """
    found = list(_handed_back(folder))
    if not found:
        raise InputError("no refused rows were found there", where=str(folder), remedy="`overnight quarantine --export DIR` writes them")
    with TemporaryDirectory() as scratch:
        sources = []
        for file in found:
            path = Path(scratch, file.source, file.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{_line(row)}\n" for row in file.rows))
        for source in dict.fromkeys(file.source for file in found):
            sources.append(_as_in_recipe(config, source).model_copy(update={"path": str(Path(scratch, source))}))
        privacy = config.privacy.model_copy(update={"pseudonymise_annotators": False})
        mended = [fingerprint for file in found for fingerprint in file.fingerprints]
        return ingest(home, config.model_copy(update={"sources": tuple(sources), "privacy": privacy}), mended=mended)


def _as_in_recipe(config: IngestConfig, name: str) -> SourceConfig:
    for source in config.sources:
        if source.name == name:
            return source
    known = examples(source.name for source in config.sources) or "none"
    raise RecipeError(f"the recipe has no source {name!r}; it has {known}", remedy="give the recipe that the rows were refused under")


def _handed_back(folder: Path) -> Iterator[HandedBack]:
    for path in sorted(folder.glob(f"*/*{SUFFIX}")):
        lines = [_envelope(path, number, line) for number, line in enumerate(path.read_text().splitlines(), 1) if line.strip()]
        if lines:
            fingerprints, rows = [line["fingerprint"] for line in lines], [line["row"] for line in lines]
            yield HandedBack(path.parent.name, path.name, fingerprints, rows)


def _envelope(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError:
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("fingerprint"), str) or "row" not in content:
        remedy = "keep each line as it was written and change its `row` only, or remove the line"
        raise InputError("a line is no refused row", where=f"{path}:{number}", remedy=remedy)
    return content


def _parsed(raw: str) -> object:
    """A raw row's content, or the text itself where it is no JSON object."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    return content if isinstance(content, dict) else raw


def _line(row: object) -> str:
    """A row as a line of JSON lines; a text that could not be parsed is left as it is."""
    return row if isinstance(row, str) and "\n" not in row else json.dumps(row)

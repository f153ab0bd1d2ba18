"""The native format: one judgment per row, as JSON lines, CSV or Parquet (`.jsonl`, `.csv`, `.parquet`, the first two also `.gz`).

    {"prompt": "Name a colour.", "response_a": "Blue.", "response_b": "Seven.", "verdict": "a", "annotator_id": "kim",
     "event_time": "2026-11-02T09:30:00Z"}

gives the comparison of "Blue." with "Seven." and kim's judgment of it. Columns:

| column | meaning | |
|---|---|---|
| prompt | a text, or (not in CSV) a list of messages with role and content | required |
| response_a, response_b | the two texts; they may be empty | required |
| verdict | `a`, `b` or `tie` | required |
| annotator_id | who judged | optional |
| annotator_kind | `human` (by default) or `model` | optional |
| comparison_id | the source's own id; with it a and b stay as they are, without it the order of a and b is decided by hash | optional |
| judgment_id | the source's own id; with it a changed row is a correction | optional |
| revision | number of the correction; by default a changed row is the next one | optional |
| op | `assert` (by default), or `retract` to take a judgment back: such a row needs judgment_id and nothing else | optional |
| slice | named part of the data | optional |
| model_a, model_b | names of the models that wrote the responses | optional |
| preference_strength | 0 or more; the direction is the verdict | optional |
| presented_first | `a` or `b`, whichever stood first or left | optional |
| event_time | ISO 8601; without an offset it is UTC | optional |
| seconds_spent | 0 or more | optional |
| gold_verdict | the known verdict of a gold comparison | optional |

The source is one such file, or a folder of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError, examples
from data_contracts.records import ANNOTATOR_KINDS, OPS, VERDICTS
from tasks.sources import rows
from tasks.sources.files import Parsed, csv_rows, json_lines, parquet_rows, require_columns
from tasks.sources.format import Sample
from tasks.sources.rows import BadRow, Judged, Pair, Row, RowError, Vote
from tasks.sources.streams import CHECK_PATH

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".parquet")
REQUIRED = ("prompt", "response_a", "response_b", "verdict")
ABOUT_COMPARISON = ("comparison_id", "slice", "model_a", "model_b", "gold_verdict")
ABOUT_JUDGMENT = ("judgment_id", "revision", "op", "annotator_id", "annotator_kind")
ABOUT_VERDICT = ("preference_strength", "presented_first", "event_time", "seconds_spent")
COLUMNS = frozenset((*REQUIRED, *ABOUT_COMPARISON, *ABOUT_JUDGMENT, *ABOUT_VERDICT))
SIDES = ("a", "b")
DETECTED_BY = "the columns prompt, response_a, response_b and verdict"


def recognises(sample: Sample) -> bool:
    """Whether the rows are in the native format."""
    return sample.has(*REQUIRED)


def files(path: Path) -> list[Path]:
    """The file at a path, or the files of these kinds below a folder, by name."""
    if path.is_dir():
        visible = (file for file in path.rglob("[!.]*") if file.is_file())
        found = sorted(file for file in visible if file.name.endswith(SUFFIXES))
    else:
        found = [path]
    if not found or not found[0].exists():
        raise InputError(f"there is no file ending in {', '.join(SUFFIXES)}", where=str(path), remedy=CHECK_PATH)
    return found


def parse(path: Path, default_slice: str | None) -> Iterator[tuple[str, Row]]:
    """The rows of every file of the source."""
    for file in files(path):
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        for row in _read(file):
            yield name, row if isinstance(row, BadRow) else rows.read_row(*row, make=lambda content: _judgment(content, default_slice))


def _read(path: Path) -> Iterable[Parsed | BadRow]:
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        found = list(json_lines(path))
        _check_columns(path, *_columns_of(found))
        return found
    if path.name.endswith((".csv", ".csv.gz")):
        header, parsed = csv_rows(path)
    elif path.name.endswith(".parquet"):
        header, parsed = parquet_rows(path)
    else:
        raise InputError(f"a native file ends in {', '.join(SUFFIXES)}", where=str(path), remedy="rename or convert the file")
    _check_columns(path, set(header), set(header))
    return parsed


def _columns_of(found: list[Parsed | BadRow]) -> tuple[set[str], set[str]]:
    """The columns that some row of a JSON lines file has, and those that all its rows have; retractions need no columns."""
    objects = [row[2] for row in found if not isinstance(row, BadRow) and isinstance(row[2], dict) and row[2].get("op") != "retract"]
    if not objects:
        return set(REQUIRED), set()
    return set().union(*objects), set(objects[0]).intersection(*objects)


def _check_columns(path: Path, some: set[str], every: set[str]) -> None:
    """The whole file must have the required columns and may have no unknown one: a misspelt column would be lost silently."""
    require_columns(path, some, REQUIRED)
    if unknown := sorted(every - COLUMNS):
        raise InputError(
            f"the native format has no column {examples(unknown)}",
            where=str(path),
            remedy=f"rename or remove it; the columns are {', '.join(sorted(COLUMNS))}",
        )


def _judgment(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged]:
    if unknown := sorted(str(column) for column in row.keys() - COLUMNS):
        raise RowError("unknown_column", f"the native format has no column {examples(unknown)}")
    op = rows.choice(row, "op", OPS) or "assert"
    key = rows.name(row, "judgment_id")
    if op == "retract":
        if key is None:
            raise RowError("missing_judgment_id", "a judgment is taken back by its judgment_id")
        taken_back = Vote(None, key=key, op=op, revision=rows.whole_number(row, "revision"), event_time=rows.moment(row, "event_time"))
        return (Judged(None, (taken_back,)),)
    return (Judged(_pair(row, default_slice), (_vote(row, key),)),)


def _pair(row: Mapping[str, Any], default_slice: str | None) -> Pair:
    return Pair(
        prompt=rows.prompt(row),
        response_a=rows.required_text(row, "response_a"),
        response_b=rows.required_text(row, "response_b"),
        slice=rows.slice_name(row) or default_slice,
        key=rows.name(row, "comparison_id"),
        model_a=rows.name(row, "model_a"),
        model_b=rows.name(row, "model_b"),
        gold_verdict=rows.choice(row, "gold_verdict", VERDICTS),
    )


def _vote(row: Mapping[str, Any], key: str | None) -> Vote:
    verdict = rows.choice(row, "verdict", VERDICTS)
    if verdict is None:
        raise RowError("missing_verdict", "the row has no verdict")
    return Vote(
        verdict=verdict,
        annotator_id=rows.name(row, "annotator_id"),
        annotator_kind=rows.choice(row, "annotator_kind", ANNOTATOR_KINDS) or "human",
        key=key,
        revision=rows.whole_number(row, "revision"),
        preference_strength=rows.amount(row, "preference_strength"),
        presented_first=rows.choice(row, "presented_first", SIDES),
        event_time=rows.moment(row, "event_time"),
        seconds_spent=rows.amount(row, "seconds_spent"),
    )

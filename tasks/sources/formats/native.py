"""The native format: one judgment per row.

    {"prompt": "Name a colour.", "response_a": "Blue.", "response_b": "Seven.", "verdict": "a", "annotator_id": "kim",
     "event_time": "2026-11-02T09:30:00Z"}

gives the comparison of "Blue." with "Seven." and kim's judgment of it. Columns:

| column | meaning | |
|---|---|---|
| prompt | a text, or (not in CSV) a list of messages with role and content | required, or comparison_id |
| response_a, response_b | the two texts; they may be empty | required, or comparison_id |
| verdict | `a`, `b` or `tie` | required |
| annotator_id | who judged | optional |
| annotator_kind | `human` (by default) or `model` | optional |
| comparison_id | the source's own id; with it a and b stay as they are, without it the order of a and b is decided by hash | optional |
| ranking_id | the source's own id of the ranking that the pair was taken from | optional |
| judgment_id | the source's own id; with it a changed row is a correction | optional |
| revision | number of the correction; by default a changed row is the next one | optional |
| op | `assert` (by default), or `retract` to take a judgment back: such a row needs judgment_id and nothing else | optional |
| slice | named part of the data | optional |
| model_a, model_b | names of the models that wrote the responses | optional |
| tie_reason | what is to be said of a tie, such as `both_bad` | optional |
| preference_strength | 0 or more; the direction is the verdict | optional |
| presented_first | `a` or `b`, whichever stood first or left | optional |
| event_time | ISO 8601; without an offset it is UTC | optional |
| seconds_spent | 0 or more | optional |
| gold_verdict | the known verdict of a gold comparison | optional |

A row with a comparison_id may leave out all three texts: they may come another time, or never, and the judgment counts anyway.
Equal judgments without annotator_id, judgment_id and event_time are told apart by their number in the file: two in one file are two, one
in each of two files of a source is one that was delivered twice.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError, examples
from data_contracts.records import ANNOTATOR_KINDS, OPS, VERDICTS
from tasks.sources import places, rows
from tasks.sources.files import Parsed, require_columns, rows_of
from tasks.sources.format import Sample
from tasks.sources.rows import BadRow, Judged, Pair, Row, RowError, Vote
from tasks.sources.streams import File, bare_name

JSON_LINES = (".jsonl", ".ndjson")
TEXTS = ("prompt", "response_a", "response_b")
REQUIRED = (*TEXTS, "verdict")
ABOUT_COMPARISON = ("comparison_id", "slice", "model_a", "model_b", "gold_verdict", "ranking_id")
ABOUT_JUDGMENT = ("judgment_id", "revision", "op", "annotator_id", "annotator_kind")
ABOUT_VERDICT = ("tie_reason", "preference_strength", "presented_first", "event_time", "seconds_spent")
COLUMNS = frozenset((*REQUIRED, *ABOUT_COMPARISON, *ABOUT_JUDGMENT, *ABOUT_VERDICT))
SIDES = ("a", "b")
DETECTED_BY = "the columns prompt, response_a, response_b and verdict"


def recognises(sample: Sample) -> bool:
    """Whether the rows are in the native format."""
    return sample.has(*REQUIRED)


def files(path: Path) -> list[Path]:
    """Every file on disk that the source consists of."""
    return places.files(path)


def parse(path: Path, default_slice: str | None) -> Iterator[tuple[str, Row]]:
    """The rows of every file of the source."""
    for name, file in places.opened(path):
        for row in parse_file(file, default_slice):
            yield name, row


def parse_file(file: File, default_slice: str | None) -> Iterator[Row]:
    """The rows of one file.

    Raises:
        InputError: the file cannot be read, has no required column, or has in every row a column that is not known.
    """
    columns = Columns(file)
    for found in rows_of(file):
        columns.see(found)
        yield judged(found, default_slice)
    columns.check()


def is_json_lines(file: File) -> bool:
    """Whether a file is read as JSON lines."""
    return bare_name(file.name).endswith(JSON_LINES)


def judged(found: Parsed | BadRow, default_slice: str | None) -> Row:
    """What a source row says."""
    return found if isinstance(found, BadRow) else rows.read_row(*found, make=lambda content: _judgment(content, default_slice))


class Columns:
    """The columns of a file: a misspelt one would be lost silently, so the file as a whole is checked for them."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._some: set[str] = set()
        self._every: set[str] | None = None

    def see(self, found: Parsed | BadRow) -> None:
        """Take note of a row's columns; retractions need none."""
        if not isinstance(found, BadRow) and isinstance(found[2], dict) and found[2].get("op") != "retract":
            self.see_columns(set(found[2]))

    def see_columns(self, columns: set[str]) -> None:
        """Take note of the columns of one or more equal rows."""
        self._some |= columns
        self._every = columns if self._every is None else self._every & columns

    def check(self) -> None:
        """Refuse the file when no row has a required column, or every row has an unknown one; a file without rows passes."""
        if self._every is not None:
            _check_columns(self._file, self._some, self._every)


def _check_columns(file: File, some: set[str], every: set[str]) -> None:
    """The whole file must have the required columns and may have no unknown one."""
    require_columns(file, some, REQUIRED if "comparison_id" not in some else ("verdict",))
    if unknown := sorted(every - COLUMNS):
        raise InputError(
            f"the native format has no column {examples(unknown)}",
            where=str(file),
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
    key = rows.name(row, "comparison_id")
    told = key is None or any(row.get(column) is not None for column in TEXTS)
    return Pair(
        prompt=rows.prompt(row) if told else None,
        response_a=rows.required_text(row, "response_a") if told else None,
        response_b=rows.required_text(row, "response_b") if told else None,
        slice=rows.slice_name(row) or default_slice,
        key=key,
        model_a=rows.name(row, "model_a"),
        model_b=rows.name(row, "model_b"),
        gold_verdict=rows.choice(row, "gold_verdict", VERDICTS),
        ranking_id=rows.name(row, "ranking_id"),
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
        tie_reason=rows.name(row, "tie_reason"),
        preference_strength=rows.amount(row, "preference_strength"),
        presented_first=rows.choice(row, "presented_first", SIDES),
        event_time=rows.moment(row, "event_time"),
        seconds_spent=rows.amount(row, "seconds_spent"),
    )

"""What every format gives: a source row as comparisons with judgments, or as a bad row with its reason."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from data_contracts.records import ALL_SLICES

Message = dict[str, str]
ROLES = ("system", "user", "assistant")
LONGEST_REVISION = 2**31


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt with two responses, in the source's orientation; None is what the source does not tell."""

    prompt: list[Message] | None
    """None where only the source's own id of the comparison is known, which must then be given."""
    response_a: str | None
    response_b: str | None
    slice: str | None = None
    key: str | None = None
    """The source's own id of the comparison."""
    model_a: str | None = None
    model_b: str | None = None
    gold_verdict: str | None = None
    ranking_id: str | None = None
    """The source's own id of the ranking that the pair was taken from."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One annotator's judgment of a pair, in the source's orientation."""

    verdict: str | None
    """None only where the judgment is taken back."""
    annotator_id: str | None = None
    annotator_kind: str = "human"
    key: str | None = None
    """The source's own id of the judgment."""
    revision: int | None = None
    op: str = "assert"
    tie_reason: str | None = None
    preference_strength: float | None = None
    presented_first: str | None = None
    event_time: datetime | None = None
    seconds_spent: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair and what annotators said of it."""

    pair: Pair | None
    """None where judgments are taken back by their own ids."""
    votes: tuple[Vote, ...]


@dataclass(frozen=True, slots=True)
class GoodRow:
    """A source row that could be read: one judged pair, or several where the row is a ranking or holds ratings."""

    number: int
    raw: str
    judged: tuple[Judged, ...]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A source row that could not be read, and why."""

    number: int
    raw: str
    reason: str
    detail: str


Row = GoodRow | BadRow


class RowError(Exception):
    """A value of a row cannot be used; caught where the row is read, and made a `BadRow`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail

    def bad_row(self, number: int, raw: str) -> BadRow:
        """The row that has the value; a reason or detail that quotes broken text is made printable."""
        reason, detail = (text.encode("utf-8", "backslashreplace").decode() for text in (self.reason, self.detail))
        return BadRow(number, raw, reason, detail)


Make = Callable[[Mapping[str, Any]], tuple[Judged, ...]]
"""Gives what a row's content says, or raises a `RowError`."""


def read_row(number: int, raw: str, content: Any, make: Make) -> Row:
    """One row from its parsed content."""
    if not isinstance(content, dict):
        return BadRow(number, raw, "not_a_row", f"expected named values, found {_kind(content)}")
    try:
        return GoodRow(number, raw, make(content))
    except RowError as error:
        return error.bad_row(number, raw)


def raw_text(content: object) -> str:
    """A row's content as one line of plain ASCII JSON, for the quarantine."""
    return json.dumps(content, default=str)


# Values: each function takes the row and a column, and gives the value, None where it is absent, or a `RowError`.


def text(row: Mapping[str, Any], column: str) -> str | None:
    """A text, which may be empty."""
    value = row.get(column)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _invalid(column, f"expected a text, found {_kind(value)} {value!r:.80}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _invalid(column, "the text is not valid Unicode") from error
    return value


def required_text(row: Mapping[str, Any], column: str) -> str:
    """A text that has to be there; it may be empty."""
    value = text(row, column)
    if value is None:
        raise RowError(f"missing_{column}", f"the row has no {column}")
    return value


def name(row: Mapping[str, Any], column: str) -> str | None:
    """An id or a name: a text or a whole number; an empty one is absent."""
    value = row.get(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    value = text(row, column)
    return value.strip() or None if value is not None else None


def required_name(row: Mapping[str, Any], column: str) -> str:
    """An id or a name that has to be there."""
    value = name(row, column)
    if value is None:
        raise RowError(f"missing_{column}", f"the row has no {column}")
    return value


def choice(row: Mapping[str, Any], column: str, allowed: tuple[str, ...]) -> str | None:
    """One of a few words."""
    value = name(row, column)
    if value is not None and value not in allowed:
        raise _invalid(column, f"expected one of {', '.join(allowed)}, found {value!r:.80}")
    return value


def amount(row: Mapping[str, Any], column: str) -> float | None:
    """A finite number of 0 or more; text files give it as text."""
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise _invalid(column, f"expected a number of 0 or more, found {value!r:.80}")
    return number


def whole_number(row: Mapping[str, Any], column: str) -> int | None:
    """A whole number of 0 or more."""
    number = amount(row, column)
    if number is None:
        return None
    if number != int(number) or number > LONGEST_REVISION:
        raise _invalid(column, f"expected a whole number, found {row[column]!r:.80}")
    return int(number)


def moment(row: Mapping[str, Any], column: str) -> datetime | None:
    """A time in UTC, from a time or its ISO 8601 text; one without an offset is taken to be in UTC."""
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise _invalid(column, f"expected a time as ISO 8601, found {value!r:.80}") from error


def prompt(row: Mapping[str, Any], column: str = "prompt") -> list[Message]:
    """A prompt: a text, which becomes one message of the user, or a list of messages."""
    value = row.get(column)
    if isinstance(value, list):
        return [_message(message, column) for message in value] or _no_prompt(column)
    content = required_text(row, column)
    return [user_message(content)] if content.strip() else _no_prompt(column)


def user_message(content: str) -> Message:
    """A plain text prompt's single message."""
    return {"role": "user", "content": content}


def slice_name(row: Mapping[str, Any], column: str = "slice") -> str | None:
    """The name of a slice."""
    value = name(row, column)
    if value == ALL_SLICES:
        raise _invalid(column, f"{ALL_SLICES!r} stands for all slices together; give this one another name")
    return value


def _message(message: object, column: str) -> Message:
    if not isinstance(message, dict) or set(message) != {"role", "content"} or message["role"] not in ROLES:
        raise _invalid(column, f"expected messages with role ({', '.join(ROLES)}) and content, found {message!r:.80}")
    return {"role": message["role"], "content": required_text(message, "content")}


def _no_prompt(column: str) -> list[Message]:
    raise RowError(f"missing_{column}", "the prompt is empty")


def _invalid(column: str, detail: str) -> RowError:
    return RowError(f"invalid_{column}", f"{column}: {detail}")


def _kind(value: object) -> str:
    return {bool: "a truth value", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}.get(
        type(value), "nothing" if value is None else type(value).__name__
    )

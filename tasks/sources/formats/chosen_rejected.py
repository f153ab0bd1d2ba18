"""Preference data in the layouts of TRL: `chosen` and `rejected`, with an explicit or an implicit prompt.

    {"prompt": "Name a colour.", "chosen": "Blue.", "rejected": "Seven."}

gives the comparison of "Blue." with "Seven." and one anonymous judgment for "Blue.". The prompt, chosen and rejected may also be
lists of messages with role and content; then the prompt may be left out: it is what both conversations begin with. After the
prompt each of them must have one message of the assistant. Without ids the order of a and b is decided by hash, so that the
chosen response is not always a.

Optional columns, as in the native format: annotator_id, annotator_kind, event_time, seconds_spent, slice.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks.sources import conversations, rows
from tasks.sources.format import Sample
from tasks.sources.responses import voter
from tasks.sources.rows import Judged, Message, Pair, RowError

DETECTED_BY = "the columns chosen and rejected, with a prompt or as lists of messages"


def recognises(sample: Sample) -> bool:
    """Whether the rows are preferences in this layout."""
    return sample.has("chosen", "rejected") and (sample.has("prompt") or sample.lists("chosen"))


def judged(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged]:
    """The comparison and the judgment for the chosen response."""
    given = _given_prompt(row)
    chosen, rejected = (_said(row, column, given) for column in ("chosen", "rejected"))
    shared = conversations.shared_beginning(chosen, rejected)
    begins_anew = bool(shared) and shared[0]["role"] != "assistant"
    prompt = shared if begins_anew else [*given, *shared]
    if not prompt:
        raise RowError("missing_prompt", "the row has no prompt, and chosen and rejected begin with no common message")
    better, worse = conversations.response(chosen, shared, "chosen"), conversations.response(rejected, shared, "rejected")
    pair = Pair(prompt, better, worse, rows.slice_name(row) or default_slice)
    return (Judged(pair, (replace(voter(row), verdict="a"),)),)


def _given_prompt(row: Mapping[str, Any]) -> list[Message]:
    if row.get("prompt") is None:
        return []
    return conversations.messages(row, "prompt") if isinstance(row["prompt"], list) else rows.prompt(row)


def _said(row: Mapping[str, Any], column: str, given: list[Message]) -> list[Message]:
    """What a column holds after the given prompt, which it may repeat."""
    if not isinstance(row.get(column), list):
        return [{"role": "assistant", "content": rows.required_text(row, column)}]
    said = conversations.messages(row, column)
    return said[len(given) :] if said[: len(given)] == given else said

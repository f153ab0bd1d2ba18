"""Votes between two models, as in LMSYS Chatbot Arena and MT-bench's human judgments.

    {"question_id": "58210e", "model_a": "vicuna", "model_b": "koala", "winner": "tie (bothbad)", "judge": "arena_user_973",
     "conversation_a": [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Seven."}],
     "conversation_b": [{"role": "user", "content": "Name a colour."}, {"role": "assistant", "content": "Nine."}],
     "turn": 1, "tstamp": 1682351591.13}

gives the comparison 58210e/1/koala/vicuna of "Nine." with "Seven." and arena_user_973's judgment, a tie with tie_reason both_bad,
with b presented first. Side a is the model whose name comes first in the alphabet, so that a pair that was shown both ways round is
one comparison; model_a of the row stood left. `winner` is model_a, model_b, tie or tie (bothbad).

The conversations may be missing: then the comparison is known by its id only. They may also have several turns: what was judged is
then not one response, and the comparison keeps the prompt they share but not their texts. Its judgments still count for agreement
and for the annotators' reliability, and it is left out of the preferences.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.sources import conversations, rows
from tasks.sources.format import Sample
from tasks.sources.responses import number
from tasks.sources.rows import Judged, Message, Pair, RowError, Vote

DETECTED_BY = "the columns model_a, model_b, winner and question_id"
VERDICTS = {"model_a": "a", "model_b": "b", "tie": "tie", "tie (bothbad)": "tie", "both_bad": "tie"}
OTHER = {"a": "b", "b": "a"}


def recognises(sample: Sample) -> bool:
    """Whether the rows are votes between two models."""
    return sample.has("model_a", "model_b", "winner", "question_id")


def judged(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged]:
    """The comparison and its judgment, with the models in alphabetical order."""
    model_a, model_b = rows.required_name(row, "model_a"), rows.required_name(row, "model_b")
    prompt, responses = _texts(row)
    sides = [(model_a, responses[0]), (model_b, responses[1])]
    turned = model_b < model_a
    (first, response_a), (second, response_b) = reversed(sides) if turned else sides
    parts = (rows.required_name(row, "question_id"), rows.name(row, "turn"), first, second)
    key = "/".join(part for part in parts if part is not None)
    pair = Pair(prompt, response_a, response_b, rows.slice_name(row) or default_slice, key, first, second)
    return (Judged(pair, (_vote(row, turned),)),)


def _texts(row: Mapping[str, Any]) -> tuple[list[Message] | None, tuple[str | None, str | None]]:
    """The prompt and the two responses, as far as the conversations tell them."""
    if row.get("conversation_a") is None and row.get("conversation_b") is None:
        return None, (None, None)
    said_a, said_b = (conversations.messages(row, column) for column in ("conversation_a", "conversation_b"))
    prompt = conversations.shared_beginning(said_a, said_b)
    if not prompt:
        raise RowError("missing_prompt", "conversation_a and conversation_b begin with no common message")
    try:
        response_a, response_b = (conversations.response(said, prompt, "conversation") for said in (said_a, said_b))
    except RowError:
        return prompt, (None, None)
    return prompt, (response_a, response_b)


def _vote(row: Mapping[str, Any], turned: bool) -> Vote:
    winner = rows.choice(row, "winner", tuple(VERDICTS))
    if winner is None:
        raise RowError("missing_winner", "the row has no winner")
    verdict = VERDICTS[winner]
    return Vote(
        verdict=OTHER.get(verdict, verdict) if turned else verdict,
        annotator_id=rows.name(row, "judge"),
        tie_reason="both_bad" if "bad" in winner else None,
        presented_first="b" if turned else "a",
        event_time=_time(row),
    )


def _time(row: Mapping[str, Any]) -> datetime | None:
    """The moment of a vote, in seconds since 1970."""
    if row.get("tstamp") in (None, ""):
        return None
    try:
        return datetime.fromtimestamp(number(row, "tstamp"), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise RowError("invalid_tstamp", f"tstamp: expected seconds since 1970, found {row['tstamp']!r:.80}") from error

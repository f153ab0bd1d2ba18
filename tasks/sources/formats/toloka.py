"""Toloka exports of side-by-side tasks: one assignment per line, with `INPUT:`, `OUTPUT:` and `ASSIGNMENT:` columns.

    INPUT:prompt    INPUT:text_a  INPUT:text_b  INPUT:system_a  INPUT:system_b  OUTPUT:category  ASSIGNMENT:task_id
    Name a colour.  Blue.         Seven.        nsp             random          1                6221c4

and, further right, ASSIGNMENT:worker_id e8b799, ASSIGNMENT:started 2022-03-05T01:38:54.564, ASSIGNMENT:submitted
2022-03-05T01:39:10.564, give comparison 6221c4 of "Blue." by nsp with "Seven." by random, and annotator e8b799's judgment for a, at
01:39:10 UTC after 16 seconds, with a presented first.

Input columns that end in `_a` and `_b` are the two sides: `system_` or `model_` names the models, and the others are the response, one
below the other. A text that is the same on both sides is the prompt, and so is `INPUT:prompt`, `INPUT:instruction` or
`INPUT:question`; without any, the comparison is known by its id and its responses only. The verdict is the one `OUTPUT:` column: 1, a
or left, 2, b or right, and 0, tie, both or equal. `GOLDEN:` gives the verdict of a gold comparison in the same words. The time is that
of submission, or else of the start; an assignment that holds several tasks tells one duration for all. A rejected assignment is
quarantined.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.sources import rows
from tasks.sources.format import Sample
from tasks.sources.rows import Judged, Message, Pair, RowError, Vote

DETECTED_BY = "columns that begin with INPUT:, OUTPUT: and ASSIGNMENT:, with inputs for two sides (ending in _a and _b)"
WORDS = {"a": ("1", "a", "left"), "b": ("2", "b", "right"), "tie": ("0", "tie", "both", "equal")}
VERDICTS = {word: verdict for verdict, words in WORDS.items() for word in words}
MODELS = ("INPUT:system", "INPUT:model")
PROMPTS = ("INPUT:prompt", "INPUT:instruction", "INPUT:question")


def recognises(sample: Sample) -> bool:
    """Whether the rows are assignments with two sides."""
    kinds = ("OUTPUT:", "ASSIGNMENT:")
    return bool(_sides(sample.columns)) and all(any(column.startswith(kind) for column in sample.columns) for kind in kinds)


def judged(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged]:
    """The task's two sides and the worker's verdict."""
    if (status := rows.name(row, "ASSIGNMENT:status")) == "REJECTED":
        raise RowError("assignment_rejected", f"the assignment's status is {status}")
    return (Judged(_pair(row, default_slice), (_vote(row),)),)


def _sides(columns: Sequence[str] | frozenset[str]) -> list[str]:
    """What the columns of the two sides have in common: `INPUT:text` for `INPUT:text_a` and `INPUT:text_b`."""
    return [column[:-2] for column in columns if column.startswith("INPUT:") and column.endswith("_a") and f"{column[:-2]}_b" in columns]


def _pair(row: Mapping[str, Any], default_slice: str | None) -> Pair:
    prompts = [text for column in PROMPTS if (text := rows.text(row, column))]
    texts: list[tuple[str, str]] = []
    for side in _sides(list(row)):
        if side not in MODELS:
            a, b = rows.required_text(row, f"{side}_a"), rows.required_text(row, f"{side}_b")
            prompts, texts = ([*prompts, a], texts) if a == b else (prompts, [*texts, (a, b)])
    if not texts:
        raise RowError("nothing_to_compare", "the two sides are the same")
    response_a, response_b = ("\n".join(side) for side in zip(*texts, strict=True))
    prompt = _prompt(prompts)
    key = rows.name(row, "ASSIGNMENT:task_id")
    if key is None and prompt is None:
        raise RowError("missing_prompt", "the row has neither a prompt nor ASSIGNMENT:task_id")
    model_a, model_b = (next((rows.name(row, f"{m}_{side}") for m in MODELS if f"{m}_{side}" in row), None) for side in "ab")
    return Pair(prompt, response_a, response_b, default_slice, key, model_a, model_b, _verdict(row, "GOLDEN:"))


def _prompt(texts: list[str]) -> list[Message] | None:
    content = "\n".join(texts)
    return [rows.user_message(content)] if content.strip() else None


def _verdict(row: Mapping[str, Any], kind: str) -> str | None:
    """The verdict in the only filled column of a kind."""
    filled = [column for column in row if column.startswith(kind) and rows.name(row, column) is not None]
    if len(filled) > 1:
        raise RowError("several_verdicts", f"expected one {kind} column, found {', '.join(filled)}")
    if not filled:
        return None
    word = rows.required_name(row, filled[0]).lower()
    if word not in VERDICTS:
        raise RowError("invalid_verdict", f"{filled[0]}: expected one of {', '.join(VERDICTS)}, found {word!r:.80}")
    return VERDICTS[word]


def _vote(row: Mapping[str, Any]) -> Vote:
    verdict = _verdict(row, "OUTPUT:")
    if verdict is None:
        raise RowError("missing_verdict", "the row has no OUTPUT: value")
    started, submitted = rows.moment(row, "ASSIGNMENT:started"), rows.moment(row, "ASSIGNMENT:submitted")
    return Vote(
        verdict=verdict,
        annotator_id=rows.required_name(row, "ASSIGNMENT:worker_id"),
        presented_first="a",
        event_time=submitted or started,
        seconds_spent=_seconds(started, submitted),
    )


def _seconds(started: datetime | None, submitted: datetime | None) -> float | None:
    if started is None or submitted is None:
        return None
    if submitted < started:
        raise RowError("invalid_ASSIGNMENT:submitted", "the assignment was submitted before it was started")
    return (submitted - started).total_seconds()

"""Several responses to one prompt that were ranked or rated, as all their pairs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from data_contracts.manifest import content_hash
from data_contracts.records import ANNOTATOR_KINDS
from tasks.sources import rows
from tasks.sources.rows import Judged, Message, Pair, RowError, Vote

MOST = 64
"""Responses in one row; as pairs these are 2,016 comparisons."""


@dataclass(frozen=True)
class RatedResponse:
    """A response and how good it was found; None where that is not told."""

    text: str
    value: float
    model: str | None = None


def voter(row: Mapping[str, Any]) -> Vote:
    """Who judged, when and for how long, under the native format's names; the verdict is still to come."""
    return Vote(
        verdict=None,
        annotator_id=rows.name(row, "annotator_id"),
        annotator_kind=rows.choice(row, "annotator_kind", ANNOTATOR_KINDS) or "human",
        event_time=rows.moment(row, "event_time"),
        seconds_spent=rows.amount(row, "seconds_spent"),
    )


def check_number(n_candidates: int) -> None:
    """A `RowError` where there is nothing to compare, or too much."""
    if n_candidates < 2:
        raise RowError("nothing_to_compare", f"a comparison needs two responses, the row has {n_candidates}")
    if n_candidates > MOST:
        raise RowError("too_many_responses", f"at most {MOST} responses can be compared, the row has {n_candidates}")


def judged_pairs(
    prompt: list[Message],
    candidates: Sequence[RatedResponse],
    vote: Vote,
    *,
    slice_name: str | None,
    ranking_id: str | None = None,
    with_strength: bool = False,
) -> tuple[Judged, ...]:
    """Every pair of the candidates with the vote for the higher value, or for a tie where the values are equal."""
    check_number(len(candidates))
    found = []
    for a, b in combinations(candidates, 2):
        pair = Pair(prompt, a.text, b.text, slice_name, model_a=a.model, model_b=b.model, ranking_id=ranking_id)
        verdict = "tie" if a.value == b.value else "a" if a.value > b.value else "b"
        strength = round(abs(a.value - b.value), 9) if with_strength else None
        found.append(Judged(pair, (replace(vote, verdict=verdict, preference_strength=strength),)))
    return tuple(found)


def ranking_name(row: Mapping[str, Any], prompt: list[Message], texts: Sequence[str]) -> str:
    """The source's own id of a ranking, or else a hash of what was ranked, whatever its order."""
    return rows.name(row, "ranking_id") or rows.name(row, "id") or content_hash([prompt, *sorted(texts)])[:32]


def text_list(row: Mapping[str, Any], column: str) -> list[str]:
    """A list of texts, one per response."""
    values = row.get(column)
    if not isinstance(values, list):
        raise RowError(f"missing_{column}" if values is None else f"invalid_{column}", f"{column}: expected a list of texts")
    check_number(len(values))
    return [rows.required_text({column: value}, column) for value in values]


def model_names(row: Mapping[str, Any], n: int) -> list[str | None]:
    """The names in the list `models`, or nothing of each where it is absent."""
    values = row.get("models")
    if values is None:
        return [None] * n
    if not isinstance(values, list) or len(values) != n:
        raise RowError("invalid_models", f"models: expected a list of {n} names, one per response")
    return [rows.name({"models": value}, "models") for value in values]


def number(row: Mapping[str, Any], column: str) -> float:
    """A finite number of either sign that has to be there; text files give it as text."""
    value = row.get(column)
    if value is None or value == "":
        raise RowError(f"missing_{column}", f"the row has no {column}")
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise RowError(f"invalid_{column}", f"{column}: expected a number, found {value!r:.80}")
    return found


def number_list(row: Mapping[str, Any], column: str, n: int) -> list[float]:
    """A list of numbers, one per response."""
    values = row.get(column)
    if not isinstance(values, list) or len(values) != n:
        raise RowError(f"missing_{column}" if values is None else f"invalid_{column}", f"{column}: expected {n} numbers, one per response")
    return [number({column: value}, column) for value in values]

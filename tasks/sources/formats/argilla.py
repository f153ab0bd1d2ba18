"""Argilla exports: records with fields, and the responses of several users to a ranking, rating or label question.

    {"id": "7", "fields": {"prompt": "Name a colour.", "reply-1": "Blue.", "reply-2": "Seven."},
     "responses": {"best": [{"value": "reply-1", "user_id": "u1"}, {"value": "tie", "user_id": "u2"}]}}

gives comparison 7/reply-1/reply-2 of "Blue." with "Seven.", and the judgments a of u1 and tie of u2. The prompt is the field `prompt`,
`instruction` or `question`; the other fields are the responses, in the order in which they stand. What a user says is told by the value:

- a label question: the name of a field, or `tie`; with two responses only;
- a ranking question: the fields from the best to the worst, as a list of names or of {"value": name, "rank": 1}, equal ranks for a tie;
  all pairs carry the record's id as their ranking_id;
- rating questions, one per response and named after its field (`reply-1`, `reply-1_rating` or `rating_reply-1`): the higher rating, with
  the difference as preference_strength.

Questions of other kinds (a text, a comment) are passed over. The older layout, `responses` as a list of {"user_id", "status", "values":
{"best": {"value": "reply-1"}}}, is read too; a response that was discarded or is a draft does not count. A record without a judgment is
quarantined. `metadata` may name the `slice`, and the `comparison_id` of a record with two responses: then that, and not the record's id,
is the source's own id of the comparison, and null says that it is known by its texts (`overnight request` writes such records).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from tasks.sources import rows
from tasks.sources.format import Sample
from tasks.sources.responses import check_number, number
from tasks.sources.rows import Judged, Pair, RowError, Vote

DETECTED_BY = "the columns fields and responses, as in Argilla's records"
PROMPTS = ("prompt", "instruction", "question")
TIES = ("tie", "equal", "both")
Answer = tuple[str | None, str, Any]
"""User, question and value."""
Values = dict[str, float]
"""How good a user found each field's response."""


@dataclass(frozen=True)
class Said:
    """What a user answered to one question, or to the rating questions together."""

    user: str | None
    kind: str
    question: str
    values: Values


def recognises(sample: Sample) -> bool:
    """Whether the rows are records of Argilla."""
    return sample.has("fields", "responses") and any(isinstance(row["fields"], dict) for row in sample.rows if "fields" in row)


def judged(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged, ...]:
    """Every pair of the record's responses with what each user said of it."""
    fields = row.get("fields")
    if not isinstance(fields, dict):
        raise RowError("invalid_fields", "fields: expected an object")
    column = next((name for name in PROMPTS if name in fields), PROMPTS[0])
    prompt = rows.prompt(fields, column)
    names = [rows.required_text({"fields": name}, "fields") for name in fields if name != column and fields[name] is not None]
    check_number(len(names))
    texts = {name: rows.required_text({"fields": fields[name]}, "fields") for name in names}
    key = rows.required_name(row, "id")
    said = list(_said(row, names))
    ranking_id = key if any(one.kind == "ranking" for one in said) else None
    if not said:
        raise RowError("missing_judgment", "the record has no submitted response that ranks, rates or picks one of its fields")
    metadata = row["metadata"] if isinstance(row.get("metadata"), dict) else {}
    part = rows.slice_name(metadata) or default_slice
    found = []
    for a, b in combinations(names, 2):
        votes = tuple(_vote(one, a, b, f"{key}/{a}/{b}") for one in said if a in one.values and b in one.values)
        is_named = len(names) == 2 and "comparison_id" in metadata
        pair_key = rows.name(metadata, "comparison_id") if is_named else f"{key}/{a}/{b}"
        pair = Pair(prompt, texts[a], texts[b], part, pair_key, ranking_id=ranking_id)
        found += [Judged(pair, votes)] if votes else []
    if not found:
        raise RowError("nothing_to_compare", "no user judged two of the record's responses")
    return tuple(found)


def _vote(said: Said, a: str, b: str, pair_key: str) -> Vote:
    """The judgment's id is made of the export's own ids, so that an answer that was changed is a correction."""
    margin = said.values[a] - said.values[b]
    return Vote(
        verdict="tie" if margin == 0 else "a" if margin > 0 else "b",
        annotator_id=said.user,
        key=None if said.user is None else f"{pair_key}/{said.question}/{said.user}",
        preference_strength=round(abs(margin), 9) if said.kind == "rating" else None,
    )


def _said(row: Mapping[str, Any], names: list[str]) -> Iterator[Said]:
    """What each user said, as values of the fields; the ratings of one user belong together."""
    ratings: dict[str | None, Values] = defaultdict(dict)
    for user, question, value in _answers(row):
        rated = next((name for name in names if question in (name, f"{name}_rating", f"rating_{name}", f"{name}-rating")), None)
        if rated is not None and not isinstance(value, (str, list)):
            ratings[user][rated] = number({"value": value}, "value")
        elif isinstance(value, list) and value:
            yield Said(user, "ranking", question, _ranked(value, names))
        elif isinstance(value, str) and value in (*names, *TIES):
            check_label(len(names))
            yield Said(user, "label", question, {name: float(name == value) for name in names})
    yield from (Said(user, "rating", "rating", values) for user, values in ratings.items())


def check_label(n_fields: int) -> None:
    """A label picks one of two; of more, it does not tell how the others compare."""
    if n_fields != 2:
        raise RowError("several_responses", f"a label question compares two responses, the record has {n_fields}")


def _ranked(value: list[Any], names: list[str]) -> Values:
    if all(isinstance(part, str) for part in value):
        ranks = {name: float(place) for place, name in enumerate(value)}
    elif all(isinstance(part, dict) and isinstance(part.get("value"), str) for part in value):
        ranks = {part["value"]: number(part, "rank") for part in value}
    else:
        raise RowError("invalid_ranking", f"expected a ranking of the record's fields, found {value!r:.80}")
    if len(ranks) != len(value) or not set(ranks) <= set(names):
        raise RowError("invalid_ranking", f"expected each of {', '.join(names)} at most once, found {value!r:.80}")
    return {name: -rank for name, rank in ranks.items()}


def _answers(row: Mapping[str, Any]) -> Iterator[Answer]:
    responses = row.get("responses")
    if isinstance(responses, dict):
        for question, answers in responses.items():
            for answer in _objects(answers):
                if answer.get("status") in (None, "submitted"):
                    yield _user(answer), _question(question), answer.get("value")
        return
    for response in _objects(responses):
        values = response.get("values")
        if response.get("status") in (None, "submitted") and isinstance(values, dict):
            for question, answer in values.items():
                yield _user(response), _question(question), answer.get("value") if isinstance(answer, dict) else answer


def _user(answer: Mapping[str, Any]) -> str | None:
    """Who answered; Argilla writes an unknown user as the text None."""
    user = rows.name(answer, "user_id")
    return None if user == "None" else user


def _question(name: object) -> str:
    return rows.required_text({"responses": name}, "responses")


def _objects(value: object) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise RowError("invalid_responses", "responses: expected lists of objects with user_id and value")
    return value

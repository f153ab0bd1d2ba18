"""Label Studio exports (JSON) of the pairwise template: tasks with two texts and the annotations of several people.

    {"id": 5, "data": {"prompt": "Name a colour.", "answer1": "Blue.", "answer2": "Seven."},
     "annotations": [{"id": 90, "completed_by": 3, "lead_time": 4.5, "created_at": "2026-03-09T22:16:08Z",
                      "result": [{"type": "pairwise", "to_name": "answer1,answer2", "value": {"selected": "left"}}]}]}

gives comparison 5 of "Blue." with "Seven.", and annotator 3's judgment 90 for a, at 22:16:08 UTC after 4.5 seconds, with a presented
first. `selected` is left, right or none (a tie); a single choice (`choices`: left, right, tie) is read as well. The two texts are the
ones that `to_name` names, or else two data keys that end in 1 and 2 or in _a and _b. The prompt is `prompt`, `instruction` or
`question`.

A skipped annotation (was_cancelled) does not count. One marked `ground_truth` is the verdict of a gold comparison, and no judgment. A
task without a judgment is quarantined. `data` may name the `slice`, and the `comparison_id`: then that, and not the task's id, is the
source's own id of the comparison, and null says that it is known by its texts (`overnight request` writes such tasks).
"""

from collections.abc import Mapping
from typing import Any

from tasks.sources import rows
from tasks.sources.format import Sample
from tasks.sources.rows import Judged, Pair, RowError, Vote

DETECTED_BY = "the columns data and annotations, as in Label Studio's tasks"
PROMPTS = ("prompt", "instruction", "question")
VERDICTS = {"left": "a", "right": "b", "none": "tie", "tie": "tie", "equal": "tie"}
ENDINGS = (("1", "2"), ("_a", "_b"))


def recognises(sample: Sample) -> bool:
    """Whether the rows are tasks of Label Studio."""
    return sample.has("data", "annotations")


def judged(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged]:
    """The task's two texts with every annotator's verdict."""
    data = row.get("data")
    if not isinstance(data, dict):
        raise RowError("invalid_data", "data: expected an object")
    annotations = [one for one in _objects(row, "annotations") if not one.get("was_cancelled")]
    results = [(one, result) for one in annotations for result in _comparing(one)]
    gold = [_verdict(result) for one, result in results if one.get("ground_truth") is True]
    votes = tuple(_vote(one, result) for one, result in results if one.get("ground_truth") is not True)
    if not votes:
        raise RowError("missing_judgment", "the task has no annotation that compares two texts")
    one, other = _sides(data, [result for _, result in results])
    column = next((name for name in PROMPTS if name in data), PROMPTS[0])
    pair = Pair(
        prompt=rows.prompt(data, column),
        response_a=rows.required_text(data, one),
        response_b=rows.required_text(data, other),
        slice=rows.slice_name(data) or default_slice,
        key=rows.name(data, "comparison_id") if "comparison_id" in data else rows.required_name(row, "id"),
        gold_verdict=gold[0] if gold else None,
    )
    return (Judged(pair, votes),)


def _objects(row: Mapping[str, Any], column: str) -> list[dict[str, Any]]:
    value = row.get(column)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise RowError(f"invalid_{column}", f"{column}: expected a list of objects")
    return value


def _comparing(annotation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The annotation's one result that compares, if any: a pairwise one, or a choice of one of the verdicts' words."""
    results = _objects(annotation, "result")
    found = [result for result in results if result.get("type") == "pairwise"]
    found = found or [result for result in results if result.get("type") == "choices" and _word(result) in VERDICTS]
    if len(found) > 1:
        raise RowError("several_verdicts", f"expected one result of an annotation that compares, found {len(found)}")
    return found


def _sides(data: Mapping[str, Any], results: list[dict[str, Any]]) -> tuple[str, str]:
    """The data keys of the left and the right text."""
    named = {tuple(name.split(",")) for result in results if isinstance(name := result.get("to_name"), str)}
    told = [names for names in named if len(names) == 2 and all(name in data for name in names)]
    endings = [(key, key.removesuffix(left) + right) for key in data for left, right in ENDINGS if key.endswith(left)]
    found = told or [pair for pair in endings if pair[1] in data]
    if len(found) != 1:
        raise RowError("unknown_sides", f"expected two texts in data that `to_name` or their endings tell, found {len(found)} such pairs")
    return found[0][0], found[0][1]


def _verdict(result: Mapping[str, Any]) -> str:
    word = _word(result)
    if word not in VERDICTS:
        raise RowError("invalid_verdict", f"expected one of {', '.join(VERDICTS)}, found {result.get('value')!r:.80}")
    return VERDICTS[word]


def _word(result: Mapping[str, Any]) -> str:
    """What was selected, in lower case; empty where that is not one word."""
    value = result.get("value")
    selected = value.get("selected", value.get("choices")) if isinstance(value, dict) else None
    word = selected[0] if isinstance(selected, list) and len(selected) == 1 else selected
    return word.lower() if isinstance(word, str) else ""


def _vote(annotation: Mapping[str, Any], result: Mapping[str, Any]) -> Vote:
    by = annotation.get("completed_by")
    return Vote(
        verdict=_verdict(result),
        annotator_id=rows.name(by, "email") or rows.name(by, "id") if isinstance(by, dict) else rows.name(annotation, "completed_by"),
        key=rows.name(annotation, "id"),
        presented_first="a",
        event_time=rows.moment(annotation, "created_at"),
        seconds_spent=rows.amount(annotation, "lead_time"),
    )

"""QA-Feedback of Fine-Grained RLHF: a question with passages, four responses and a label for each of their six pairs.

    {"question": "When does bloom come out?", "passages": [["Bloom (album)", "Bloom is an album.", "It came out in 2018."]],
     "prediction 1": "2018.", "prediction 2": "In May.", "prediction 3": "31 August 2018.", "prediction 4": "An album.",
     "preference": [1, 0, 2, 2, 1, 1]}

gives six comparisons, of predictions 1 and 2, 1 and 3, 1 and 4, 2 and 3, 2 and 4, 3 and 4, and one anonymous judgment of each: 1 for
the first of the two, 2 for the second, 0 for a tie. The prompt is the passages, each under its title, and then the question, as the
annotators saw them. The pairs were labelled one by one and are no ranking.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from tasks.sources import rows
from tasks.sources.format import Sample
from tasks.sources.rows import Judged, Pair, RowError, Vote

PREDICTIONS = ("prediction 1", "prediction 2", "prediction 3", "prediction 4")
DETECTED_BY = "the columns question, passages, prediction 1 to prediction 4 and preference"
VERDICTS = ("tie", "a", "b")
N_PAIRS = 6


def recognises(sample: Sample) -> bool:
    """Whether the rows are questions with four labelled predictions."""
    return sample.has("question", "passages", "preference", *PREDICTIONS)


def judged(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged, ...]:
    """The six pairs with their labels."""
    texts = [rows.required_text(row, column) for column in PREDICTIONS]
    prompt, labels = [rows.user_message(_prompt(row))], _labels(row)
    slice_name = rows.slice_name(row) or default_slice
    pairs = zip(combinations(texts, 2), labels, strict=True)
    return tuple(Judged(Pair(prompt, one, other, slice_name), (Vote(VERDICTS[label]),)) for (one, other), label in pairs)


def _labels(row: Mapping[str, Any]) -> list[int]:
    labels = row.get("preference")
    if not isinstance(labels, list) or len(labels) != N_PAIRS or not all(type(label) is int and 0 <= label <= 2 for label in labels):
        raise RowError("invalid_preference", f"preference: expected {N_PAIRS} labels 0, 1 or 2, found {labels!r:.80}")
    return labels


def _prompt(row: Mapping[str, Any]) -> str:
    question = rows.required_text(row, "question")
    if not question.strip():
        raise RowError("missing_question", "the question is empty")
    passages = row.get("passages")
    if not isinstance(passages, list) or not all(isinstance(passage, list) for passage in passages):
        raise RowError("invalid_passages", "passages: expected a list of passages, each a title and its sentences")
    read = [[rows.required_text({"passages": part}, "passages") for part in passage] for passage in passages]
    return "\n\n".join([*(f"{title}\n{' '.join(sentences)}" for title, *sentences in filter(None, read)), question])

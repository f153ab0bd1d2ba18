"""UltraFeedback: an instruction with completions, each rated by a model on several aspects.

    {"instruction": "Name a colour.", "source": "flan", "completions": [
      {"model": "alpaca-7b", "response": "Seven.", "annotations": {"helpfulness": {"Rating": "1"}, "honesty": {"Rating": "3"}}},
      {"model": "llama-7b", "response": "Blue.", "annotations": {"helpfulness": {"Rating": "4"}, "honesty": {"Rating": "5"}}}]}

gives, in the slice flan, the comparison of "Seven." by alpaca-7b with "Blue." by llama-7b, and a model's judgment for "Blue."
with preference_strength 2.5: a completion's rating is the mean over its aspects. An aspect rated "N/A" does not count; a completion
without a rated aspect is rated by its `overall_score`, which the data set's authors had to correct once and which therefore comes
second. All pairs of a row carry one ranking_id.
"""

from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean
from typing import Any

from tasks.sources import rows
from tasks.sources.format import Sample
from tasks.sources.responses import RatedResponse, check_number, judged_pairs, number, ranking_name, voter
from tasks.sources.rows import Judged, RowError

DETECTED_BY = "the columns instruction and completions"


def recognises(sample: Sample) -> bool:
    """Whether the rows are instructions with rated completions."""
    return sample.has("instruction", "completions")


def judged(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged, ...]:
    """Every pair of the completions."""
    prompt = rows.prompt(row, "instruction")
    completions = row.get("completions")
    if not isinstance(completions, list) or not all(isinstance(completion, dict) for completion in completions):
        raise RowError("invalid_completions", "completions: expected a list of objects with response and annotations")
    check_number(len(completions))
    candidates = [_candidate(completion) for completion in completions]
    return judged_pairs(
        prompt,
        candidates,
        replace(voter(row), annotator_kind="model"),
        slice_name=rows.slice_name(row, "source") or default_slice,
        ranking_id=ranking_name(row, prompt, [candidate.text for candidate in candidates]),
        with_strength=True,
    )


def _candidate(completion: Mapping[str, Any]) -> RatedResponse:
    return RatedResponse(rows.required_text(completion, "response"), _rating(completion), rows.name(completion, "model"))


def _rating(completion: Mapping[str, Any]) -> float:
    annotations = completion.get("annotations")
    aspects = list(annotations.values()) if isinstance(annotations, dict) else []
    rated = [aspect for aspect in aspects if isinstance(aspect, dict) and aspect.get("Rating") not in (None, "N/A")]
    return fmean(number(aspect, "Rating") for aspect in rated) if rated else number(completion, "overall_score")

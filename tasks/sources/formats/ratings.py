"""Ratings of several responses to one prompt, on any scale: the higher rating is the verdict.

    {"prompt": "Name a colour.", "responses": ["Seven.", "Blue."], "ratings": [1, 4], "annotator_id": "kim"}

gives the comparison of "Seven." with "Blue." and kim's judgment for "Blue." with preference_strength 3, the difference of the
ratings; equal ratings are a tie. With more than two responses every pair is a comparison, and all carry one ranking_id: the row's
own `ranking_id` or `id`, or else a hash of the prompt and the responses.
Optional columns: models (a list of names), annotator_id, annotator_kind, event_time, seconds_spent, slice.
"""

from collections.abc import Mapping
from typing import Any

from tasks.sources import rows
from tasks.sources.format import Sample
from tasks.sources.responses import RatedResponse, judged_pairs, model_names, number_list, ranking_name, text_list, voter
from tasks.sources.rows import Judged

DETECTED_BY = "the columns prompt, responses and ratings"


def recognises(sample: Sample) -> bool:
    """Whether the rows hold ratings of several responses."""
    return sample.has("prompt", "responses", "ratings")


def judged(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged, ...]:
    """Every pair of the rated responses."""
    prompt, texts = rows.prompt(row), text_list(row, "responses")
    ratings, models = number_list(row, "ratings", len(texts)), model_names(row, len(texts))
    return judged_pairs(
        prompt,
        [RatedResponse(text, rating, model) for text, rating, model in zip(texts, ratings, models, strict=True)],
        voter(row),
        slice_name=rows.slice_name(row) or default_slice,
        ranking_id=ranking_name(row, prompt, texts),
        with_strength=True,
    )

"""Rankings of several responses to one prompt, as in InstructGPT: every pair of them is a comparison.

    {"prompt": "Name a colour.", "responses": ["Seven.", "Blue.", "Red."], "ranks": [2, 1, 1], "annotator_id": "kim"}

gives three comparisons and kim's judgments of them: "Blue." and "Red." each before "Seven.", and a tie between the two. `ranks`
holds each response's rank, 1 for the best, equal ranks for a tie. Instead, `ranking` may hold the responses' positions from the
best to the worst, counted from 0 or from 1, with a list in place of a position for a tie: [[1, 2], 0] says the same.

All pairs of a row carry one ranking_id: the row's own `ranking_id` or `id`, or else a hash of the prompt and the responses.
Optional columns: models (a list of names), annotator_id, annotator_kind, event_time, seconds_spent, slice.
"""

from collections.abc import Mapping
from typing import Any

from tasks.sources import rows
from tasks.sources.format import Sample
from tasks.sources.responses import RatedResponse, judged_pairs, model_names, number_list, ranking_name, text_list, voter
from tasks.sources.rows import Judged, RowError

DETECTED_BY = "the columns prompt and responses, with ranking or ranks"


def recognises(sample: Sample) -> bool:
    """Whether the rows are rankings."""
    return sample.has("prompt", "responses") and (sample.has("ranking") or sample.has("ranks"))


def judged(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged, ...]:
    """Every pair of the ranked responses."""
    prompt, texts = rows.prompt(row), text_list(row, "responses")
    ranks = number_list(row, "ranks", len(texts)) if row.get("ranks") is not None else _ranks(row, len(texts))
    models = model_names(row, len(texts))
    return judged_pairs(
        prompt,
        [RatedResponse(text, -rank, model) for text, rank, model in zip(texts, ranks, models, strict=True)],
        voter(row),
        slice_name=rows.slice_name(row) or default_slice,
        ranking_id=ranking_name(row, prompt, texts),
    )


def _ranks(row: Mapping[str, Any], n: int) -> list[float]:
    """Each response's rank, from the list of positions from the best to the worst."""
    ranking = row.get("ranking")
    if not isinstance(ranking, list):
        raise RowError("missing_ranking" if ranking is None else "invalid_ranking", "ranking: expected a list of positions, the best first")
    groups = [group if isinstance(group, list) else [group] for group in ranking]
    ranks = {place: float(rank) for rank, group in enumerate(groups) for place in group if type(place) is int}
    first = min(ranks, default=0)
    if sum(map(len, groups)) != n or first not in (0, 1) or set(ranks) != set(range(first, first + n)):
        raise RowError("invalid_ranking", f"ranking: expected each of the {n} responses once, found {ranking!r:.80}")
    return [ranks[place] for place in sorted(ranks)]

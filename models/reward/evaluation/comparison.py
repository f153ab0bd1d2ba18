"""Two reward models on the same held-out preferences, pair by pair: is one of them better at what annotators said?

Their tokenizers, likelihoods and scales may differ, so all that is compared is which response each of them scores higher.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_contracts.records import ALL_SLICES
from models.evaluation.clusters import Figure, estimates
from models.reward.evaluation.reward_figures import ratio, share_right
from models.reward.scoring import Scoring

ACCURACY, OF_CHAMPION = "reward_model_accuracy", "reward_model_accuracy_champion"
GAIN = "reward_model_accuracy_gain_champion"
"""Tonight's accuracy less that of the champion's reward model."""

FIGURES: dict[str, Figure] = {
    ACCURACY: ratio("own", "decided"),
    OF_CHAMPION: ratio("champions", "decided"),
    GAIN: lambda sums: (sums["own"] - sums["champions"]) / sums["decided"],
}


def compare(preferences: Sequence[dict[str, Any]], own: Scoring, champions: Scoring) -> list[dict[str, object]]:
    """Rows of the record `figure`, over all preferences and by slice, with intervals over prompts; none where no pair is decided.

    Args:
        preferences: rows of the record `preference` that neither model learned from; those that favour neither response do not count.
        own: tonight's reward model.
        champions: the one that the champion learned through.
    """
    decided = [row for row in preferences if row["probability"] > 0.5]
    columns = {name: right(decided, model) for name, model in (("own", own), ("champions", champions))}
    columns["decided"] = np.ones(len(decided))
    rows: list[dict[str, object]] = []
    for part in [ALL_SLICES, *sorted({row["slice"] for row in decided})] if decided else []:
        inside = np.array([part in (ALL_SLICES, row["slice"]) for row in decided])
        prompt_ids = [row["prompt_id"] for row, is_in in zip(decided, inside, strict=True) if is_in]
        found = estimates({name: column[inside] for name, column in columns.items()}, FIGURES, prompt_ids)
        rows += [{"slice": part, "figure": name, **one._asdict(), "n": len(set(prompt_ids))} for name, one in found.items()]
    return rows


def right(preferences: Sequence[dict[str, Any]], model: Scoring) -> NDArray[np.float64]:
    """1 where a model scores a preference's `chosen` higher than its `rejected`, one half where equal, 0 where lower; (n,)."""
    prompts = [row["prompt"] for row in preferences]
    chosen, rejected = (model.score(prompts, [row[side] for row in preferences]).score.double() for side in ("chosen", "rejected"))
    return share_right((chosen - rejected).numpy())

"""How good a reward model's scores are on preferences that it did not learn from."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import LEVEL
from models.randomness import generator
from models.reward.preference_data import Preference, truncation_counts

RESAMPLES = 2000
"""Bootstrap resamples of prompts behind an interval."""

Figures = dict[str, float | int | None]
Floats = NDArray[np.float64]


class Scores(NamedTuple):
    """What a reward model says of n preferences, each (n,)."""

    chosen: Floats
    """The score."""
    rejected: Floats
    log_odds: Floats
    """That `chosen` is preferred; of a single Bradley-Terry model the score difference before normalisation."""


def evaluate_scores(preferences: Sequence[Preference], scores: Scores) -> dict[str, object]:
    """The figures of one split, and under `slices` those of each slice; a figure that is undefined is None.

    n_pairs, n_prompts: how much there is. accuracy: share of the pairs with a probability above one half whose chosen
    response has the higher score, equal scores count half, with a 95 % bootstrap interval over prompts. log_loss: weighted
    mean of the predicted probability's loss, a tie counting half, whatever likelihood was trained. length_accuracy: the accuracy
    of "the longer one wins".
    score_length_correlation: Pearson's, over responses. prompts_cut, responses_cut: what the length limit took.
    """
    slices = sorted({p.slice for p in preferences})
    return {**_figures(preferences, scores), "slices": {name: _slice_figures(name, preferences, scores) for name in slices}}


def log_loss(log_odds: Floats, probabilities: Floats, weights: Floats) -> float:
    """Weighted mean of −p·ln σ(log-odds) − (1−p)·ln σ(−log-odds)."""
    losses = probabilities * np.logaddexp(0, -log_odds) + (1 - probabilities) * np.logaddexp(0, log_odds)
    return float((weights * losses).sum() / weights.sum())


def clustered_interval(values: Floats, clusters: Sequence[str], seed: int = 0) -> tuple[float, float] | None:
    """95 % percentile interval of the mean of values (n,) when whole clusters are drawn at random; None for fewer than two."""
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    if len(names) < 2:
        return None
    sums, counts = np.bincount(index, weights=values), np.bincount(index)
    random = generator(seed, "clustered_interval")
    means = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        drawn = random.integers(len(names), size=len(names))
        means[i] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _slice_figures(name: str, preferences: Sequence[Preference], scores: Scores) -> Figures:
    rows = [i for i, preference in enumerate(preferences) if preference.slice == name]
    return _figures([preferences[i] for i in rows], Scores(*(column[rows] for column in scores)))


def _figures(preferences: Sequence[Preference], scores: Scores) -> Figures:
    margins = scores.chosen - scores.rejected
    probabilities, weights = np.array([p.probability for p in preferences]), np.array([p.weight for p in preferences])
    chosen_lengths = np.array([p.chosen.response_length for p in preferences])
    rejected_lengths = np.array([p.rejected.response_length for p in preferences])
    decided = probabilities > 0.5
    right = _share_right(margins)[decided]
    interval = clustered_interval(right, [p.prompt_id for p in preferences if p.probability > 0.5])
    return {
        "n_pairs": len(preferences),
        "n_prompts": len({p.prompt_id for p in preferences}),
        "accuracy": _mean(right),
        "accuracy_low": interval[0] if interval else None,
        "accuracy_high": interval[1] if interval else None,
        "log_loss": log_loss(scores.log_odds, probabilities, weights),
        "length_accuracy": _mean(_share_right(chosen_lengths - rejected_lengths)[decided]),
        "score_length_correlation": _correlation(
            np.concatenate([scores.chosen, scores.rejected]), np.concatenate([chosen_lengths, rejected_lengths])
        ),
        **truncation_counts(preferences),
    }


def _share_right(margins: Floats) -> Floats:
    """1 for a margin above 0, one half for none, 0 below."""
    return (np.sign(margins) + 1) / 2


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _correlation(x: Floats, y: Floats) -> float | None:
    x, y = x - x.mean(), y - y.mean()
    spread = math.sqrt(float((x * x).sum()) * float((y * y).sum()))
    return float((x * y).sum()) / spread if spread > 0 else None

"""Bootstrap intervals over prompts.

Prompts are what is drawn at random, so prompts are resampled: whatever belongs to one prompt stays together as one value.
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.95
CHUNK = 2**22
"""Most values that are drawn at once."""


class Interval(NamedTuple):
    """A mean over prompts and the 95 % interval around it."""

    mean: float
    low: float
    high: float


def bootstrap_interval(values: ArrayLike, *, resamples: int, seed: int) -> Interval:
    """Mean of one value per prompt (n,), with its percentile bootstrap interval over prompts (Efron, 1979).

    Values that are all equal have an interval of width 0, however few they are: read it together with the number of prompts.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        raise ValueError("an interval needs at least one value")
    random = np.random.default_rng(seed)
    rows = max(1, CHUNK // x.size)
    means = [x[random.integers(x.size, size=(min(rows, resamples - done), x.size))].mean(axis=1) for done in range(0, resamples, rows)]
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(x.mean()), float(low), float(high))


def widened(value: float, low: float, high: float, tested: int) -> tuple[float, float]:
    """The ends of a 95 % interval widened to the level 1 - 0.05 / tested, as a normal distribution's would be (Bonferroni)."""
    wider = NormalDist().inv_cdf(1 - (1 - LEVEL) / (2 * tested)) / NormalDist().inv_cdf((1 + LEVEL) / 2)
    return value + wider * (low - value), value + wider * (high - value)


def win_shares(scores: ArrayLike, opponent_scores: ArrayLike) -> np.ndarray:
    """1 where a score (n,) is above the opponent's, ½ where they are equal, 0 where it is below."""
    difference = np.asarray(scores, dtype=np.float64) - np.asarray(opponent_scores, dtype=np.float64)
    return (np.sign(difference) + 1) / 2

"""Bootstrap intervals over prompts.

Prompts are what is drawn at random, so prompts are resampled: whatever belongs to one prompt stays together as one value. Where a judge
of several members said what is measured, their differences count as well: another judge, trained on other comparisons, would have said
something else, about as different as they are from one another.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

LEVEL = 0.95
CHUNK = 2**22
"""Most values that are drawn at once."""


class Interval(NamedTuple):
    """A mean over prompts and the 95 % interval around it."""

    mean: float
    low: float
    high: float
    judge_half_width: float | None = None
    """What of its half width comes from how the judge's members differ, which more prompts hardly lessen; None without several."""


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


def between_members(interval: Interval, of_members: ArrayLike) -> Interval:
    """An interval over prompts around what K members of a judge say in the mean, widened by how much the K (K,) differ.

    Each member learned from a bootstrap resample of the judge's comparisons (and, where members are models, from another start and in
    another order), so their standard deviation estimates the error of a judge that learned from so many (Efron, 1979); with Student's t
    at K - 1 degrees of freedom it is a half width, to which that over prompts is added as independent errors are, by squares. The
    members' means also differ by what chance did to these n prompts, which is counted twice so. What all members got wrong, since the
    people whom they learned from did, is in no interval. One member is no estimate: the interval stays as it is.
    """
    members = np.asarray(of_members, dtype=np.float64)
    if members.size < 2:
        return interval
    half = float(stdtrit(members.size - 1, (1 + LEVEL) / 2) * members.std(ddof=1))
    mean, low, high, _ = interval
    return Interval(mean, mean - math.hypot(mean - low, half), mean + math.hypot(high - mean, half), half)


def of_a_share(interval: Interval) -> Interval:
    """An interval around a share, cut off at 0 and 1."""
    return interval._replace(low=max(0.0, interval.low), high=min(1.0, interval.high))


def widening(tested: int) -> float:
    """How many times as wide a normal distribution's 95 % interval is at the level 1 - 0.05 / tested (Bonferroni)."""
    return NormalDist().inv_cdf(1 - (1 - LEVEL) / (2 * tested)) / NormalDist().inv_cdf((1 + LEVEL) / 2)


def win_shares(scores: ArrayLike, opponent_scores: ArrayLike) -> np.ndarray:
    """1 where a score (…) is above the opponent's, ½ where they are equal, 0 where it is below."""
    difference = np.asarray(scores, dtype=np.float64) - np.asarray(opponent_scores, dtype=np.float64)
    return (np.sign(difference) + 1) / 2

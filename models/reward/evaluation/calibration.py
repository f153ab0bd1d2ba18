"""Whether predicted probabilities come true: bins of similar confidence, and the one temperature that makes them truer.

Every pair is turned so that the response that the model favours comes first: which one annotators chose must not decide what
the model is said to have predicted.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BIN_PAIRS, MOST_BINS = 40, 10
"""Fewest pairs of a bin, and most bins: of fewer pairs, the noise of the observed share would pass for miscalibration."""
TEMPERATURES = (0.05, 20.0)
"""Range that a temperature is looked for in."""
GOLDEN = (math.sqrt(5) - 1) / 2


class Confidence(NamedTuple):
    """n pairs as a model sees them, each (n,)."""

    predicted: Floats
    """Probability of the response that the model favours, from 0.5 to 1."""
    observed: Floats
    """Share of the judgments for it, a tie counting half."""


def confidence(log_odds: Floats, probabilities: Floats) -> Confidence:
    """The favoured response's predicted and observed probability, from those of `chosen`; where none is favoured both are one half."""
    observed = 0.5 + np.sign(log_odds) * (probabilities - 0.5)
    return Confidence(1 / (1 + np.exp(-np.abs(log_odds))), observed)


def bins(predicted: Floats) -> NDArray[np.int64]:
    """The bin (n,) of each prediction, from 0: as many pairs in each, in order of the prediction; equal predictions share one."""
    count = min(MOST_BINS, max(1, len(predicted) // BIN_PAIRS))
    edges = np.quantile(predicted, np.arange(1, count) / count)
    return np.searchsorted(edges, predicted, side="right").astype(np.int64)


def log_losses(log_odds: Floats, probabilities: Floats) -> Floats:
    """−p·ln σ(log-odds) − (1−p)·ln σ(−log-odds), elementwise."""
    losses: Floats = probabilities * np.logaddexp(0, -log_odds) + (1 - probabilities) * np.logaddexp(0, log_odds)
    return losses


def fit_temperature(log_odds_at: Callable[[float], Floats], probabilities: Floats, weights: Floats) -> float:
    """The temperature, which divides score differences, of the lowest weighted log loss (Guo et al., 2017)."""

    def loss(log_temperature: float) -> float:
        return float((weights * log_losses(log_odds_at(math.exp(log_temperature)), probabilities)).sum())

    return math.exp(lowest(loss, math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1])))


def lowest(function: Callable[[float], float], low: float, high: float, *, within: float = 1e-6) -> float:
    """Where a function with one minimum between two points has it, by golden section search (Kiefer, 1953)."""
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > within:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = function(right)
    return (low + high) / 2

"""Over-optimisation: how the reward model's score and the held-out judge's part as the policy moves away from the base model, and how
far the best of n moves, against which that is held.

Gao et al. (2023) found that in reinforcement learning what is gained follows R(d) = d (alpha - beta ln d) with d the root of the KL.
The two coefficients are fitted by least squares to the gains on the validation prompts that stand in the metrics of the training. Where
beta is above 0 the curve has a peak at ln d = alpha / beta - 1.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

FITTED = {"score": "validation_score", "judge_score": "validation_judge_score"}
"""The figures that are fitted, and their columns in the metrics."""
KL = "validation_kl_k1"
AT_BASE = 1e-3
"""A policy whose KL, in nats per response, is not above this is the base model; rounding alone gives less."""
LEAST = 3
"""States of the policy with a KL above 0 that a fit of two coefficients needs."""


class Curve(NamedTuple):
    """R(d) = d (alpha - beta ln d)."""

    alpha: float
    beta: float

    def gain(self, kl: float) -> float:
        """What is gained at a KL, in nats, above 0."""
        d = math.sqrt(kl)
        return d * (self.alpha - self.beta * math.log(d))

    @property
    def peak_kl(self) -> float | None:
        """The KL at which the most is gained, or None where the curve only rises."""
        return math.exp(2 * (self.alpha / self.beta - 1)) if self.beta > 0 else None


def points(metrics: Sequence[Mapping[str, float | None]], column: str) -> list[tuple[float, float]]:
    """KL and gain over the base model of each state that was validated, those with a KL above 0.

    None without the base model's row: training that started from a champion never was at a KL of 0.
    """
    known = [(kl, value) for row in metrics if (kl := row.get(KL)) is not None and (value := row.get(column)) is not None]
    if not known or known[0][0] > AT_BASE:
        return []
    base = known[0][1]
    return [(kl, value - base) for kl, value in known[1:] if kl > 0]


def fitted(found: Sequence[tuple[float, float]]) -> Curve | None:
    """The curve that fits KLs and gains best, or None where there are too few."""
    if len(found) < LEAST:
        return None
    d = np.sqrt([kl for kl, _ in found])
    coefficients = np.linalg.lstsq(np.stack([d, -d * np.log(d)], 1), np.array([gain for _, gain in found]), rcond=None)[0]
    return Curve(float(coefficients[0]), float(coefficients[1]))


def kl_of_best(n: int) -> float:
    """KL in nats between the best of n responses and the model that gave them (Stiennon et al., 2020).

    An upper bound, which is tight while no response is likely (Beirami et al., 2024).
    """
    return math.log(n) - (n - 1) / n


def first_kl(found: Sequence[tuple[float, float]], gain: float) -> float | None:
    """The KL at which KLs and gains, in the order of training and joined by straight lines from 0 on, first reach a gain above 0."""
    if gain <= 0:
        return None
    for (before_kl, before), (kl, reached) in pairwise([(0.0, 0.0), *found]):
        if reached >= gain:
            return before_kl + (kl - before_kl) * (gain - before) / (reached - before)
    return None


def curve_figures(metrics: Sequence[Mapping[str, float | None]]) -> Iterator[tuple[str, float, int]]:
    """Name, value and number of states of every coefficient that can be fitted."""
    for name, column in FITTED.items():
        found = points(metrics, column)
        curve = fitted(found)
        if curve is not None:
            yield f"overoptimization_alpha_{name}", curve.alpha, len(found)
            yield f"overoptimization_beta_{name}", curve.beta, len(found)

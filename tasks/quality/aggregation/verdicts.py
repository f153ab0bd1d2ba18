"""The verdicts that are aggregated, as arrays, and what every aggregator gives back."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CATEGORIES = ("a", "tie", "b")
"""The order of verdicts in every array: turning it round swaps the responses."""
A, TIE, B = range(3)
CHANCE = 0.5
"""Reliability of one who throws a coin."""
Z95 = 1.959963984540054
"""Half-width of a 95 % interval in standard errors (normal distribution)."""


@dataclass(frozen=True)
class Verdicts:
    """V verdicts of K annotators on N comparisons, those of one comparison next to each other, in the comparisons' order."""

    comparison: Ints
    """(V,) number of the comparison, never falling."""
    annotator: Ints
    """(V,) number of the annotator."""
    verdict: Ints
    """(V,) place in CATEGORIES."""
    first: Floats
    """(V,) 1 where a stood first, -1 where b did, 0 where it is unknown."""
    weight: Floats
    """(V,) how much the verdict counts, above 0."""
    n_comparisons: int
    n_annotators: int

    @classmethod
    def of(
        cls,
        comparison: npt.ArrayLike,
        annotator: npt.ArrayLike,
        verdict: npt.ArrayLike,
        first: npt.ArrayLike | None = None,
        *,
        n_comparisons: int | None = None,
        n_annotators: int | None = None,
    ) -> "Verdicts":
        """Verdicts of weight 1 in any order; by default nobody stood first, and as many comparisons and annotators as are named."""
        c, k, v = (np.asarray(column, np.int64) for column in (comparison, annotator, verdict))
        side = np.zeros(len(c)) if first is None else np.asarray(first, np.float64)
        n = int(c.max(initial=-1)) + 1 if n_comparisons is None else n_comparisons
        people = int(k.max(initial=-1)) + 1 if n_annotators is None else n_annotators
        order = np.lexsort((side, v, k, c))
        return cls(c[order], k[order], v[order], side[order], np.ones(len(c)), n, people)

    def weighted(self, by_annotator: Floats) -> "Verdicts":
        """The verdicts with the weights (K,) of their annotators; those of weight 0 are left out."""
        kept = by_annotator[self.annotator] > 0
        return replace(self.only(kept), weight=(self.weight * by_annotator[self.annotator])[kept])

    def only(self, kept: npt.NDArray[np.bool_]) -> "Verdicts":
        """Some of the verdicts, of the same comparisons and annotators."""
        return Verdicts(
            self.comparison[kept],
            self.annotator[kept],
            self.verdict[kept],
            self.first[kept],
            self.weight[kept],
            self.n_comparisons,
            self.n_annotators,
        )

    def counts(self) -> Floats:
        """(N, 3) weighted verdicts of each category on each comparison."""
        cells = np.bincount(self.comparison * 3 + self.verdict, self.weight, 3 * self.n_comparisons)
        return np.asarray(cells.reshape(-1, 3), np.float64)

    def by_annotator(self, values: Floats) -> Floats:
        """(K,) sums over the verdicts of each annotator."""
        return np.asarray(np.bincount(self.annotator, values, self.n_annotators), np.float64)


class Reliability(NamedTuple):
    """How reliable each annotator is: the chance, from 0 to 1, that a decided verdict names the preferred of two different responses."""

    value: Floats
    """(K,) estimates; nan where there is nothing to estimate from."""
    standard_error: Floats
    low: Floats
    """(K,) lower ends of the 95 % intervals."""
    high: Floats

    @classmethod
    def of(cls, value: Floats, standard_error: Floats) -> "Reliability":
        """With intervals that are symmetric in the logit, so that they stay within 0 and 1 (delta method)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            logit, half = np.log(value / (1 - value)), Z95 * standard_error / (value * (1 - value))
            low, high = (1 / (1 + np.exp(-(logit + side * half))) for side in (-1, 1))
        return cls(value, standard_error, low, high)


class Aggregated(NamedTuple):
    """What an aggregator gives."""

    probabilities: Floats
    """(N, 3) posterior probability that the preference is a, a tie, b; a row without verdicts is the prior."""
    reliability: Reliability
    first_bias: float
    """How far standing first helps, in the model's units; nan where the model has no such term."""
    iterations: int
    converged: bool
    """Whether the fit ended by its stopping rule, and not by its limit."""

"""Intervals by resampling annotators: each annotator comes with all of his or her judgments, as often as a Poisson(1) draw says.

Poisson weights stand for the multinomial ones of the usual bootstrap (J. A. Hanley and B. MacGibbon, 2006): they are drawn annotator
by annotator, so that any number of annotators needs little memory, and every slice sees the same resampled annotators.
"""

import numpy as np
from scipy import sparse

from tasks.quality.figures.agreement import Array, interval, ratio

BLOCK = 2000
"""Annotators whose weights are drawn at a time."""


def resampled_sums(sums: sparse.csr_array, rng: np.random.Generator, resamples: int) -> Array:
    """Sums over resampled annotators, shape (resamples, columns), of each annotator's sums, shape (annotators, columns)."""
    found = np.zeros((resamples, sums.shape[1]))
    for start in range(0, sums.shape[0], BLOCK):
        block = sums[start : start + BLOCK]
        weights = rng.poisson(1.0, (block.shape[0], resamples)).astype(np.float64)
        found += (block.T @ weights).T
    return found


def resampled_counts(ones: float, zeros: float, rng: np.random.Generator, resamples: int) -> tuple[Array, Array]:
    """Resampled numerator and denominator, each (resamples,), of a share of judgments that are annotators of their own."""
    chosen = rng.poisson(ones, resamples).astype(np.float64)
    return chosen, chosen + rng.poisson(zeros, resamples)


def clustered_ratio(numerators: Array, denominators: Array, rng: np.random.Generator, resamples: int) -> tuple[float, float, float]:
    """Σ numerators / Σ denominators, each of shape (annotators,), with its 95 % interval; of a single annotator it has none."""
    value = float(ratio(numerators.sum(), denominators.sum()))
    if np.count_nonzero(denominators) < 2:
        return value, float("nan"), float("nan")
    sums = resampled_sums(sparse.csr_array(np.stack([numerators, denominators], axis=1)), rng, resamples)
    return value, *interval(ratio(sums[:, 0], sums[:, 1]))

"""The effect of length on preference, with the quality of the models held fixed.

    logit P(a is preferred | decided) = coefficient · z + quality(model of a) − quality(model of b)

z is the difference of the lengths in standard deviations. The models' qualities are penalised effects: independent normal with mean 0
and standard deviation 1 in log odds, so that rare models do no harm, and a set with one model, or with none named, has none. What a
response of one and the same model gains in quality by being longer counts as length here. The standard error is clustered by
comparison (sandwich), so that several judgments of one pair are not several pairs.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from tasks.quality.figures.agreement import Array

PENALTY = 1.0
"""One over the variance of the models' qualities."""
MAX_STEPS, TOLERANCE = 100, 1e-10
NORMAL_975 = 1.959963984540054


@dataclass(frozen=True)
class LengthTable:
    """Comparisons grouped by what the model reads; every array has the shape (G,)."""

    model_a: npt.NDArray[np.int64]
    """Number of the model that wrote response a; -1 where it is unknown."""
    model_b: npt.NDArray[np.int64]
    z: Array
    """Length of response a less that of b, in standard deviations."""
    n_a: Array
    """Judgments for a, of `n` decided ones."""
    n: Array
    comparisons: Array
    """How many comparisons are like this."""


def length_coefficient(table: LengthTable) -> tuple[float, float, float]:
    """The coefficient of z with its 95 % interval; nan where no length differs, or where lengths tell every judgment."""
    undefined = float("nan"), float("nan"), float("nan")
    if not np.any(table.z):
        return undefined
    design = _design(table)
    penalty = np.full(design.shape[1], PENALTY)
    penalty[0] = 0.0
    coefficients, information = _fit(design, table, penalty)
    if coefficients is None:
        return undefined
    residual = table.n_a - table.n * _probability(design @ coefficients)
    scores = design.multiply((residual * np.sqrt(table.comparisons))[:, None]).tocsr()
    bread = np.linalg.inv(information)
    error = float(np.sqrt((bread @ (scores.T @ scores).toarray() @ bread)[0, 0]))
    value = float(coefficients[0])
    return value, value - NORMAL_975 * error, value + NORMAL_975 * error


def _design(table: LengthTable) -> sparse.csr_array:
    """z, then one column per model: 1 where it wrote a, -1 where it wrote b."""
    named = np.flatnonzero((table.model_a >= 0) & (table.model_b >= 0) & (table.model_a != table.model_b))
    models, places = np.unique(np.concatenate([table.model_a[named], table.model_b[named]]), return_inverse=True)
    rows = np.concatenate([np.arange(table.z.size), named, named])
    columns = np.concatenate([np.zeros(table.z.size, np.int64), 1 + places])
    values = np.concatenate([table.z, np.ones(named.size), -np.ones(named.size)])
    return sparse.csr_array((values, (rows, columns)), shape=(table.z.size, 1 + models.size))


def _fit(design: sparse.csr_array, table: LengthTable, penalty: Array) -> tuple[Array | None, Array]:
    """Newton's method; None where it does not come to rest, as when lengths separate the judgments."""
    coefficients = np.zeros(design.shape[1])
    for _ in range(MAX_STEPS):
        p = _probability(design @ coefficients)
        gradient = design.T @ (table.comparisons * (table.n_a - table.n * p)) - penalty * coefficients
        curvature = table.comparisons * table.n * p * (1 - p)
        information = (design.T @ design.multiply(curvature[:, None])).toarray() + np.diag(penalty)
        try:
            step = np.linalg.solve(information, gradient)
        except np.linalg.LinAlgError:
            return None, information
        coefficients = coefficients + step
        if np.abs(step).max() < TOLERANCE:
            return coefficients, information
        if abs(coefficients[0]) > 50:
            return None, information
    return None, information


def _probability(log_odds: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -500, 500))))

"""Agreement figures as pure functions of count tables.

A count table has one row per group of comparisons with the same counts: `counts`, shape (G, K), holds how many judgments each of
the K categories got, and `weights`, shape (..., G), how many comparisons have these counts. A bootstrap over comparisons is then a
multinomial draw of the weights, and every function here takes all resamples at once. Categories stand in their order: a, tie, b.

An undefined figure (0/0) is nan. K is always the number of declared categories, used or not.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Metric = Literal["nominal", "ordinal", "interval"]
A, B = 0, 2
INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class CountTable:
    """Comparisons grouped by their counts."""

    counts: Array
    """Judgments per category, shape (G, K)."""
    weights: Array
    """Comparisons with these counts, shape (G,)."""

    @classmethod
    def of(cls, counts: Array) -> "CountTable":
        """The table of comparisons with these counts, shape (comparisons, K); their order does not matter."""
        unique, weights = np.unique(counts, axis=0, return_counts=True)
        return cls(unique.astype(np.float64), weights.astype(np.float64))

    def resampled(self, rng: np.random.Generator, resamples: int) -> Array:
        """Weights of bootstrap resamples of the comparisons, shape (resamples, G)."""
        n = self.weights.sum()
        if n == 0:
            return np.zeros((resamples, 0))
        return rng.multinomial(int(n), self.weights / n, size=resamples).astype(np.float64)


def krippendorff_alpha(counts: Array, weights: Array, metric: Metric) -> Array:
    """Krippendorff's alpha, shape (...): 1 - (n-1) Σ o_ck d_ck / Σ n_c n_k d_ck over comparisons with two or more judgments.

    o_ck = Σ_u n_uc (n_uk - [c=k]) / (m_u - 1), n_c = Σ_k o_ck. K. Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.
    """
    totals = counts.sum(axis=1)
    paired = totals >= 2
    counts, weights, totals = counts[paired], weights[..., paired], totals[paired]
    categories = counts.shape[1]
    pairs = counts[:, :, None] * (counts[:, None, :] - np.eye(categories)) / (totals - 1)[:, None, None]
    observed = (weights @ pairs.reshape(-1, categories**2)).reshape(*weights.shape[:-1], categories, categories)
    frequencies = observed.sum(axis=-1)
    distances = _distances(frequencies, metric)
    expected = frequencies[..., :, None] * frequencies[..., None, :]
    disagreement = (observed * distances).sum(axis=(-2, -1))
    by_chance = (expected * distances).sum(axis=(-2, -1))
    return 1 - ratio((frequencies.sum(axis=-1) - 1) * disagreement, by_chance)


def _distances(frequencies: Array, metric: Metric) -> Array:
    """d_ck of a metric, shape (..., K, K): nominal [c≠k], interval (c-k)², ordinal (Σ_{g=c..k} n_g - (n_c+n_k)/2)²."""
    categories = frequencies.shape[-1]
    if metric == "nominal":
        return 1 - np.eye(categories)
    # The ordinal distance is the squared difference of the categories' mean ranks.
    ranks = np.cumsum(frequencies, axis=-1) - frequencies / 2 if metric == "ordinal" else np.arange(categories, dtype=np.float64)
    squared: Array = (ranks[..., :, None] - ranks[..., None, :]) ** 2
    return squared


def pairwise_agreement(counts: Array, weights: Array) -> Array:
    """Share of pairs of judgments on one comparison that agree, micro over pairs, shape (...)."""
    totals = counts.sum(axis=1)
    return ratio(weights @ (counts * (counts - 1)).sum(axis=1), weights @ (totals * (totals - 1)))


def macro_agreement(counts: Array, weights: Array) -> Array:
    """Mean over comparisons with two judgments or more of the share of their pairs that agree, shape (...)."""
    return _mean_agreement(counts, weights, np.eye(counts.shape[1]))


def n_comparisons(counts: Array, weights: Array) -> int:
    """Comparisons with two judgments or more."""
    return int(weights @ (counts.sum(axis=1) >= 2))


def n_pairs(counts: Array, weights: Array) -> int:
    """Unordered pairs of judgments on one comparison."""
    totals = counts.sum(axis=1)
    return int(weights @ (totals * (totals - 1)) / 2)


def gwet_coefficient(counts: Array, weights: Array, agreement: Array) -> Array:
    """Gwet's AC2 for an agreement matrix with ones on its diagonal, shape (...); the identity matrix gives AC1.

    pe = Σ_kl w_kl / (K (K-1)) · Σ π (1-π). K. L. Gwet, Handbook of Inter-Rater Reliability, 4th ed., 2014.
    """
    shares = _shares(counts, weights)
    categories = counts.shape[1]
    by_chance = agreement.sum() / (categories * (categories - 1)) * (shares * (1 - shares)).sum(axis=-1)
    return _beyond_chance(_mean_agreement(counts, weights, agreement), by_chance)


def fleiss_kappa(counts: Array, weights: Array) -> Array:
    """Fleiss' kappa, generalised to varying numbers of judgments, shape (...): pe = Σ π²; Gwet, as above."""
    shares = _shares(counts, weights)
    return _beyond_chance(_mean_agreement(counts, weights, np.eye(counts.shape[1])), (shares**2).sum(axis=-1))


def ordinal_agreement(categories: int) -> Array:
    """Gwet's ordinal weights, shape (K, K): 1 - C(|k-l|+1, 2) / C(K, 2)."""
    distance = np.abs(np.subtract.outer(np.arange(categories), np.arange(categories)))
    weights: Array = 1 - distance * (distance + 1) / (categories * (categories - 1))
    return weights


def _mean_agreement(counts: Array, weights: Array, agreement: Array) -> Array:
    """Mean over comparisons with two or more judgments of the (weighted) share of agreeing pairs, shape (...)."""
    totals = counts.sum(axis=1)
    paired = totals >= 2
    counts, weights, totals = counts[paired], weights[..., paired], totals[paired]
    shares = (counts * (counts @ agreement - 1)).sum(axis=1) / (totals * (totals - 1))
    return ratio(weights @ shares, weights.sum(axis=-1))


def _shares(counts: Array, weights: Array) -> Array:
    """π: mean over all comparisons of the share of each category, shape (..., K)."""
    shares = counts / counts.sum(axis=1, keepdims=True)
    return ratio(weights @ shares, weights.sum(axis=-1)[..., None])


def leave_one_out_agreement(counts: Array, weights: Array) -> Array:
    """Share of decided judgments that agree with the majority of the comparison's others, shape (...).

    A judgment for a or b counts where the others favour one side: more of them chose a than b, or the reverse.
    """
    return ratio(weights @ _leave_one_out(counts)[0], weights @ _leave_one_out(counts)[1])


def n_leave_one_out(counts: Array, weights: Array) -> int:
    """How many judgments `leave_one_out_agreement` rests on."""
    return int((weights * _leave_one_out(counts)[1]).sum())


def _leave_one_out(counts: Array) -> tuple[Array, Array]:
    """Of each comparison, the judgments that agree with the majority of the others, and those where there is one."""
    margin = counts[:, A] - counts[:, B]
    agreeing = counts[:, A] * (margin - 1 > 0) + counts[:, B] * (margin + 1 < 0)
    decided = counts[:, A] * (margin - 1 != 0) + counts[:, B] * (margin + 1 != 0)
    return np.asarray(agreeing, np.float64), np.asarray(decided, np.float64)


def cohen_kappas(tables: Array) -> Array:
    """Cohen's kappa of contingency tables, shape (..., K, K), as (...); nan where chance alone agrees always."""
    n = tables.sum(axis=(-2, -1))
    agreement = ratio(np.trace(tables, axis1=-2, axis2=-1), n)
    by_chance = ratio((tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1), n**2)
    return _beyond_chance(agreement, by_chance)


def cohen_kappa_errors(tables: Array) -> Array:
    """Asymptotic standard errors of `cohen_kappas`, of the same shape.

    J. L. Fleiss, J. Cohen and B. S. Everitt, Large sample standard errors of kappa and weighted kappa, 1969, formula 13.
    """
    n = tables.sum(axis=(-2, -1))
    p = ratio(tables, n[..., None, None])
    rows, columns = p.sum(axis=-1), p.sum(axis=-2)
    kappa, by_chance = cohen_kappas(tables), (rows * columns).sum(axis=-1)
    diagonal = np.diagonal(p, axis1=-2, axis2=-1)
    agreeing = (diagonal * (1 - (rows + columns) * (1 - kappa)[..., None]) ** 2).sum(axis=-1)
    crossed = (columns[..., :, None] + rows[..., None, :]) ** 2
    off_diagonal = (p * crossed).sum(axis=(-2, -1)) - (diagonal * (rows + columns) ** 2).sum(axis=-1)
    variance = agreeing + (1 - kappa) ** 2 * off_diagonal - (kappa - by_chance * (1 - kappa)) ** 2
    return np.asarray(np.sqrt(ratio(np.maximum(variance, 0), n)) / (1 - by_chance), np.float64)


def interval(resampled: Array) -> tuple[float, float]:
    """The 95 % percentile interval of a figure's resamples, undefined ones left out."""
    defined = resampled[np.isfinite(resampled)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, INTERVAL)
    return float(low), float(high)


def _beyond_chance(agreement: Array, by_chance: Array) -> Array:
    return ratio(agreement - by_chance, 1 - by_chance)


def ratio(numerator: Array, denominator: Array) -> Array:
    """The quotient, nan where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    quotient: Array = np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator != 0)
    return quotient

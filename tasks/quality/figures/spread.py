"""How unequal annotators are: in how much they judge, and in how often they call a tie."""

import numpy as np

from tasks.quality.figures.agreement import Array


def gini(volumes: Array) -> float:
    """Gini coefficient of volumes, shape (annotators,): mean absolute difference over twice the mean; nan without any."""
    if not volumes.sum():
        return float("nan")
    places = np.arange(1, volumes.size + 1)
    return float(((2 * places - volumes.size - 1) * np.sort(volumes)).sum() / (volumes.size * volumes.sum()))


def effective_number(volumes: Array) -> float:
    """1 / Σ share², the inverse of Simpson's index; nan without any."""
    return float(volumes.sum() ** 2 / (volumes**2).sum()) if volumes.sum() else float("nan")


def top_share(volumes: Array, part: float = 0.1) -> float:
    """Share of the busiest tenth, rounded up; nan without any."""
    if not volumes.sum():
        return float("nan")
    top = int(np.ceil(volumes.size * part))
    return float(np.sort(volumes)[-top:].sum() / volumes.sum())


def spread_beyond_chance(counts: Array, totals: Array) -> float:
    """Standard deviation of the annotators' true shares, by the method of moments; nan for fewer than two annotators.

    τ² = max(0, (Σ n(p_i - p)² - (A - 1) p(1 - p)) / (N - Σn²/N)): J. C. Kleinman, Proportions with extraneous variance, 1973.
    """
    counts, totals = counts[totals > 0], totals[totals > 0]
    n = totals.sum()
    weight = n - (totals**2).sum() / n if n else 0.0
    if weight <= 0:
        return float("nan")
    share = counts.sum() / n
    between = (totals * (counts / totals - share) ** 2).sum()
    return float(np.sqrt(max(0.0, (between - (totals.size - 1) * share * (1 - share)) / weight)))

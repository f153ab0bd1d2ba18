"""The longest run of one verdict: what chance gives, for judgments that are independent with the annotator's own shares of verdicts."""

import numpy as np

from tasks.quality.figures.agreement import Array

NEGLIGIBLE = 1e-12


def run_probability(length: int, n: int, shares: Array) -> float:
    """Probability that the longest run among n judgments is `length` or longer; verdicts have these shares, shape (K,).

    Poisson approximation on the expected number of runs, Σ_k p_k^L ((n - L)(1 - p_k) + 1): L. Gordon, M. F. Schilling and
    M. S. Waterman, An extreme value theory for long head runs, 1986.
    """
    if length > n:
        return 0.0
    if length <= 1:
        return 1.0
    expected = float((shares**length * ((n - length) * (1 - shares) + 1)).sum())
    return 1.0 if shares.max() >= 1 else float(-np.expm1(-expected))


def expected_longest_run(n: int, shares: Array) -> float:
    """Expected length of the longest run, the sum over lengths of the probability of a run as long."""
    total = 0.0
    for length in range(1, n + 1):
        probability = run_probability(length, n, shares)
        total += probability
        if probability < NEGLIGIBLE:
            break
    return total

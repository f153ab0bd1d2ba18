"""Bootstrap intervals against hand calculation, the exact bootstrap distribution, and the normal approximation."""

import itertools

import numpy as np
import pytest

from models.evaluation.intervals import bootstrap_interval, win_shares


def test_win_shares_by_hand_with_ties_half() -> None:
    assert win_shares([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]).tolist() == [0, 0.5, 1]


def test_interval_of_three_values_is_the_exact_bootstrap_distribution() -> None:
    # All 27 equally likely resamples of three prompts, enumerated.
    values = [0.0, 1.0, 5.0]
    exact = sorted(np.mean(draw) for draw in itertools.product(values, repeat=3))
    interval = bootstrap_interval(values, resamples=50_000, seed=1)
    assert interval.mean == 2
    assert interval.low == pytest.approx(np.quantile(exact, 0.025, method="inverted_cdf"), abs=1e-9)
    assert interval.high == pytest.approx(np.quantile(exact, 0.975, method="inverted_cdf"), abs=1e-9)


def test_interval_of_many_values_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(3, 2, size=2_000)
    interval = bootstrap_interval(values, resamples=4_000, seed=1)
    half = 1.96 * values.std() / np.sqrt(values.size)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_interval_is_a_function_of_values_and_seed() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap_interval(values, resamples=500, seed=3) == bootstrap_interval(values, resamples=500, seed=3)
    assert bootstrap_interval(values, resamples=500, seed=3) != bootstrap_interval(values, resamples=500, seed=4)


def test_no_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([], resamples=100, seed=0)

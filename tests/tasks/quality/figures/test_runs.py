"""The longest run against simulated judgments, and against an exact count."""

import itertools

import numpy as np
import pytest

from tasks.quality.figures.runs import expected_longest_run, run_probability


def longest(verdicts: "np.ndarray | tuple[int, ...]") -> int:
    return max(len(list(run)) for _, run in itertools.groupby(verdicts))


@pytest.mark.parametrize("shares", [(0.45, 0.45, 0.1), (0.8, 0.1, 0.1)])
def test_long_runs_are_as_probable_as_in_simulated_judgments(shares: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    found = np.array([longest(rng.choice(3, size=200, p=shares)) for _ in range(2000)])
    assert expected_longest_run(200, np.array(shares)) == pytest.approx(found.mean(), rel=0.03)
    for length in (int(np.quantile(found, 0.9)), int(np.quantile(found, 0.98)) + 1):
        assert run_probability(length, 200, np.array(shares)) == pytest.approx((found >= length).mean(), abs=0.02)


def test_short_sequences_by_counting_all_of_them() -> None:
    """Of the 3^8 equally probable sequences of eight verdicts, those with a run of five or more."""
    every = [longest(one) for one in itertools.product(range(3), repeat=8)]
    exact = np.mean([one >= 5 for one in every])
    assert run_probability(5, 8, np.full(3, 1 / 3)) == pytest.approx(exact, abs=0.002)


def test_the_ends() -> None:
    half = np.array([0.5, 0.5, 0.0])
    assert run_probability(1, 10, half) == 1
    assert run_probability(11, 10, half) == 0
    assert run_probability(10, 10, np.array([1.0, 0, 0])) == 1
    assert expected_longest_run(10, np.array([1.0, 0, 0])) == 10

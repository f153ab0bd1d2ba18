"""Inequality by definitions written out and by hand, and the spread of shares against the one that they were drawn with."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.quality.figures.spread import effective_number, gini, spread_beyond_chance, top_share


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_gini_is_the_mean_difference_over_twice_the_mean(volumes: list[int]) -> None:
    differences = [abs(one - other) for one in volumes for other in volumes]
    assert gini(np.array(volumes, float)) == pytest.approx(np.mean(differences) / (2 * np.mean(volumes)), abs=1e-12)


def test_concentration_by_hand() -> None:
    volumes = np.array([6.0, 2, 2])
    assert effective_number(volumes) == pytest.approx(100 / 44)
    assert top_share(volumes) == 0.6
    assert effective_number(np.full(7, 3.0)) == pytest.approx(7)
    assert all(map(math.isnan, (gini(np.zeros(0)), effective_number(np.zeros(0)), top_share(np.zeros(0)))))


def test_the_spread_that_shares_were_drawn_with_is_found() -> None:
    rng = np.random.default_rng(0)
    totals = rng.integers(20, 400, size=3000).astype(float)
    beta = rng.beta(4, 12, size=3000)  # standard deviation sqrt(4·12 / (16²·17)) = 0.105
    assert spread_beyond_chance(rng.binomial(totals.astype(int), beta).astype(float), totals) == pytest.approx(0.105, abs=0.006)
    assert spread_beyond_chance(rng.binomial(totals.astype(int), 0.25).astype(float), totals) < 0.02
    assert math.isnan(spread_beyond_chance(np.array([3.0]), np.array([9.0])))

"""Calibration. Oracles: hand calculation, scikit-learn's logistic regression, scipy's minimiser, planted temperatures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from models.reward.evaluation.calibration import BIN_PAIRS, MOST_BINS, TEMPERATURES, bins, confidence, fit_temperature, log_losses, lowest


def test_losses_by_hand_and_at_large_log_odds() -> None:
    losses = log_losses(np.array([2.0, -1e4, 0.0]), np.array([0.75, 1.0, 0.5]))
    by_hand = 0.75 * math.log(1 + math.exp(-2)) + 0.25 * math.log(1 + math.exp(2))
    assert losses.tolist() == pytest.approx([by_hand, 1e4, math.log(2)])


def test_pairs_are_turned_towards_the_favourite() -> None:
    seen = confidence(np.array([math.log(3), -math.log(3), 0.0]), np.array([1.0, 0.9, 0.8]))
    assert seen.predicted.tolist() == pytest.approx([0.75, 0.75, 0.5])
    assert seen.observed.tolist() == pytest.approx([1.0, 0.1, 0.5])


@given(count=st.integers(1, 700), seed=st.integers(0, 9))
def test_bins_are_of_equal_size_and_in_order(count: int, seed: int) -> None:
    predicted = np.random.default_rng(seed).uniform(0.5, 1, count)
    places = bins(predicted)
    sizes = np.bincount(places)
    assert len(sizes) == min(MOST_BINS, max(1, count // BIN_PAIRS))
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(places[np.argsort(predicted)]) >= 0).all()


def test_equal_predictions_share_a_bin() -> None:
    assert len(set(bins(np.full(500, 0.7)).tolist())) == 1


def test_temperature_is_that_of_a_logistic_regression() -> None:
    """With one feature and no intercept its coefficient is 1 / temperature; a soft label is two weighted rows."""
    random = np.random.default_rng(0)
    log_odds, weights = random.normal(size=300) * 3, random.uniform(0.5, 2, 300)
    probabilities = random.binomial(5, 1 / (1 + np.exp(-log_odds / 2.5))) / 5
    oracle = LogisticRegression(C=1e10, fit_intercept=False, tol=1e-10)
    oracle.fit(
        np.tile(log_odds, 2)[:, None], [1] * 300 + [0] * 300, np.concatenate([weights * probabilities, weights * (1 - probabilities)])
    )
    found = fit_temperature(lambda t: log_odds / t, probabilities, weights)
    assert found == pytest.approx(1 / oracle.coef_[0, 0], rel=1e-3)
    assert found == pytest.approx(2.5, rel=0.3)


def test_pairs_that_are_all_right_have_the_lowest_temperature() -> None:
    assert fit_temperature(lambda t: np.ones(9) / t, np.ones(9), np.ones(9)) == pytest.approx(TEMPERATURES[0], rel=1e-4)


@given(place=st.floats(-3, 3), scale=st.floats(0.1, 9))
def test_lowest_is_where_scipy_finds_it(place: float, scale: float) -> None:
    def function(x: float) -> float:
        return scale * math.cosh(x - place)

    assert lowest(function, -5, 5) == pytest.approx(minimize_scalar(function, bounds=(-5, 5), method="bounded").x, abs=1e-3)

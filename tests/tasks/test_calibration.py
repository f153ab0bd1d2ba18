"""How probabilities are compared with the truth: by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from tasks.simulation.calibration import BINS, calibration_error, calibration_figures


def test_figures_by_another_library() -> None:
    rng = np.random.default_rng(0)
    p, truth = rng.uniform(0.01, 0.99, 500), rng.normal(size=500)
    found = calibration_figures(p, truth)
    assert found["log_loss"] == pytest.approx(log_loss(truth > 0, p))
    assert found["brier"] == pytest.approx(brier_score_loss(truth > 0, p))
    assert found["accuracy"] == pytest.approx(((p > 0.5) == (truth > 0)).mean())


def test_equal_rewards_do_not_count_and_a_coin_is_half_right() -> None:
    assert calibration_figures(np.array([0.5, 0.9, 0.1]), np.array([1.0, 0.0, 2.0]))["accuracy"] == pytest.approx(1 / 4)
    assert np.isnan(calibration_figures(np.array([0.5]), np.zeros(1))["accuracy"])


def test_the_calibration_error_by_hand() -> None:
    """Two bins: three of 0.2 of which one is true (gap 0.4 / 3), one of 1.0 that is (no gap)."""
    assert calibration_error(np.array([0.2, 0.2, 0.2, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])) == pytest.approx(3 / 4 * (1 / 3 - 0.2))
    assert calibration_error(np.full(10, 0.55), np.repeat([1.0, 0.0], 5)) == pytest.approx(0.05)
    assert BINS == 10

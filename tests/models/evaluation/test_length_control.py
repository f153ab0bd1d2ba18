"""The length-controlled win rate against scikit-learn's regression, and on made preferences whose answer is known."""

import numpy as np
import pytest

from models.evaluation.length_control import PRECISION, fit, length_controlled_win_rate, length_term


def controlled(wins: np.ndarray, lengths: np.ndarray, others: np.ndarray) -> tuple[float, float, float]:  # type: ignore[type-arg]
    return length_controlled_win_rate(wins, lengths, others, resamples=300, seed=0)[:3]


def test_the_fit_is_that_of_scikit_learn() -> None:
    """scikit-learn's penalty is 1 / (2C) times the square of the coefficients; ties are two halves, the intercept a column of its own."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(0)
    x, y = np.tanh(random.normal(size=80)), random.choice([0.0, 0.5, 1.0], 80)
    features = np.stack([np.ones(80), x], 1)
    oracle = linear_model.LogisticRegression(C=1 / PRECISION, fit_intercept=False, tol=1e-10, max_iter=1000)
    oracle.fit(np.concatenate([features, features]), np.repeat([1, 0], 80), sample_weight=np.concatenate([y, 1 - y]))
    assert fit(y, x, np.ones((1, 80)))[0] == pytest.approx(oracle.coef_[0], abs=1e-4)


def test_a_judge_who_likes_length_alone_is_seen_through() -> None:
    """The policy is longer by 20 on average and wins by P = sigma(2 tanh(d / s)): of one length it would win one half."""
    random = np.random.default_rng(1)
    others = random.integers(20, 200, 4000).astype(float)
    lengths = others + random.normal(20, 30, 4000)
    chances = 1 / (1 + np.exp(-2 * length_term(lengths - others)))
    wins = (random.random(4000) < chances).astype(float)
    assert wins.mean() > 0.65
    value, low, high = controlled(wins, lengths, others)
    assert value == pytest.approx(0.5, abs=0.03)
    assert low < 0.5 < high


def test_where_length_means_nothing_it_is_the_win_rate() -> None:
    random = np.random.default_rng(2)
    wins = (random.random(2000) < 0.7).astype(float)
    found = controlled(wins, random.normal(100, 10, 2000), np.full(2000, 100.0))
    assert found[0] == pytest.approx(wins.mean(), abs=0.01)
    assert (found[1], found[2]) == pytest.approx((wins.mean() - 1.96 * 0.01025, wins.mean() + 1.96 * 0.01025), abs=0.006)
    same = controlled(wins, np.full(2000, 9.0), np.full(2000, 9.0))
    assert same[0] == pytest.approx(wins.mean(), abs=1e-3)


def test_members_who_differ_widen_it_by_what_each_would_have_found() -> None:
    """By hand: without a difference in length each member's rate is its share of wins; Student's t at 1 degree of freedom is 12.706."""
    random = np.random.default_rng(4)
    wins = np.stack([(random.random(4000) < chance).astype(float) for chance in (0.60, 0.61)], 1)
    same = np.full(4000, 9.0)
    found = length_controlled_win_rate(wins, same, same, resamples=300, seed=0)
    alone = controlled(wins.mean(1), same, same)
    half = 12.706 * abs(wins[:, 0].mean() - wins[:, 1].mean()) / np.sqrt(2)
    assert found.mean == alone[0]
    assert found.judge_half_width == pytest.approx(half, abs=1e-4)
    assert found.low == pytest.approx(found.mean - np.hypot(found.mean - alone[1], half), abs=1e-4)


def test_members_who_differ_a_lot_leave_a_rate_between_0_and_1() -> None:
    random = np.random.default_rng(5)
    wins = np.stack([(random.random(200) < chance).astype(float) for chance in (0.3, 0.7)], 1)
    found = length_controlled_win_rate(wins, np.full(200, 9.0), np.full(200, 9.0), resamples=300, seed=0)
    assert (found.low, found.high) == (0, 1)


def test_a_policy_that_always_wins_has_a_rate_just_below_one() -> None:
    value, low, high = controlled(np.ones(30), np.arange(30.0), np.zeros(30))
    assert 0.98 < low <= value <= high < 1

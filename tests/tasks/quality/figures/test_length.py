"""The length coefficient against scikit-learn, and against coefficients that simulated judgments were made with."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.quality.figures.length import LengthTable, length_coefficient


def simulated(seed: int, coefficient: float, comparisons: int = 4000, each: int = 3, models: int = 12) -> tuple[LengthTable, np.ndarray]:
    """Better models write longer responses, so that the raw share of longer ones is confounded."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=models)
    a = rng.integers(models, size=comparisons)
    b = (a + rng.integers(1, models, size=comparisons)) % models
    z = 0.7 * (quality[a] - quality[b]) + rng.normal(size=comparisons)
    z = np.round(z / np.sqrt(np.mean(z**2)), 2)
    p = 1 / (1 + np.exp(-(coefficient * z + quality[a] - quality[b])))
    n_a = rng.binomial(each, p).astype(float)
    return LengthTable(a, b, z, n_a, np.full(comparisons, float(each)), np.ones(comparisons)), quality


@pytest.mark.parametrize("coefficient", [0.0, 0.5])
def test_the_coefficient_that_judgments_were_made_with_is_found(coefficient: float) -> None:
    inside = 0
    for seed in range(20):
        table, _ = simulated(seed, coefficient)
        value, low, high = length_coefficient(table)
        assert value == pytest.approx(coefficient, abs=0.12)
        inside += low <= coefficient <= high
    assert inside >= 17, "a 95 % interval misses 1 of 20; 4 of 20 or more have a probability of 1.6 %"


def test_without_the_models_quality_length_would_be_blamed() -> None:
    table, _ = simulated(0, 0.0)
    unnamed = np.full_like(table.model_a, -1)
    blamed, low, _ = length_coefficient(LengthTable(unnamed, unnamed, table.z, table.n_a, table.n, table.comparisons))
    assert blamed > 0.5
    assert low > 0


def test_the_fit_is_the_penalised_logistic_regression_of_scikit_learn() -> None:
    """With one model it is plain logistic regression; its error without clusters is the usual one."""
    table, _ = simulated(3, 0.4, comparisons=500, each=1, models=6)
    unnamed = np.full_like(table.model_a, -1)
    value, low, high = length_coefficient(LengthTable(unnamed, unnamed, table.z, table.n_a, table.n, table.comparisons))
    theirs = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(table.z[:, None], table.n_a)
    assert value == pytest.approx(theirs.coef_[0, 0], abs=1e-5)
    p = theirs.predict_proba(table.z[:, None])[:, 1]
    assert (high - low) / (2 * 1.96) == pytest.approx(1 / np.sqrt((p * (1 - p) * table.z**2).sum()), rel=0.15)


def test_grouping_and_turning_pairs_round_change_nothing() -> None:
    table, _ = simulated(1, 0.3, comparisons=200)
    turn = np.random.default_rng(0).random(200) < 0.5
    turned = LengthTable(
        np.where(turn, table.model_b, table.model_a),
        np.where(turn, table.model_a, table.model_b),
        np.where(turn, -table.z, table.z),
        np.where(turn, table.n - table.n_a, table.n_a),
        table.n,
        table.comparisons,
    )
    assert length_coefficient(turned) == pytest.approx(length_coefficient(table), abs=1e-9)
    twice = LengthTable(*(np.tile(column, 2) for column in vars(table).values()))
    doubled = LengthTable(*list(vars(table).values())[:-1], 2 * table.comparisons)
    assert length_coefficient(twice) == pytest.approx(length_coefficient(doubled), abs=1e-9)


def test_undefined_where_nothing_differs_or_lengths_tell_everything() -> None:
    unnamed, ones = np.full(4, -1), np.ones(4)
    for z in (np.zeros(4), np.array([1.0, 2, 3, 4])):
        assert all(map(math.isnan, length_coefficient(LengthTable(unnamed, unnamed, z, ones, ones, ones))))
    assert all(map(math.isnan, length_coefficient(LengthTable(*(np.zeros(0, np.int64),) * 2, *(np.zeros(0),) * 4))))

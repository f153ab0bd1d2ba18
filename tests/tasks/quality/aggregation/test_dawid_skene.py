"""Dawid and Skene's model against EM written out in plain Python, crowd-kit's figures, and parameters that are known."""

import math

import numpy as np
import pytest

from tasks.quality.aggregation import dawid_skene as ds
from tasks.quality.aggregation.verdicts import Verdicts
from tests.tasks.quality.aggregation.generated import by_formula, paired

FOREVER = ds.Stopping(tolerance=-math.inf, max_iterations=500)


def plain_em(verdicts: Verdicts, iterations: int, *, symmetric: bool, priors: float) -> tuple[list[list[float]], list[list[list[float]]]]:
    """EM with loops over lists, from smoothed vote shares: the posterior, and each annotator's table."""
    said = list(zip(verdicts.comparison.tolist(), verdicts.annotator.tolist(), verdicts.verdict.tolist(), strict=True))
    n, people = verdicts.n_comparisons, verdicts.n_annotators
    posterior = [[1e-3] * 3 for _ in range(n)]
    for i, _, v in said:
        posterior[i][v] += 1
    posterior = [[one / sum(row) for one in row] for row in posterior]
    for _ in range(iterations + 1):
        tables = [[[priors * float(ds.THETA_PRIOR[j, v]) for v in range(3)] for j in range(3)] for _ in range(people)]
        truth = [priors + sum(row[j] for row in posterior) for j in range(3)]
        for i, k, v in said:
            for j in range(3):
                tables[k][j][v] += posterior[i][j]
        if symmetric:
            tables = [[[table[j][v] + table[2 - j][2 - v] for v in range(3)] for j in range(3)] for table in tables]
            truth = [truth[j] + truth[2 - j] for j in range(3)]
        tables = [[[cell / sum(row) for cell in row] for row in table] for table in tables]
        joint = [[math.log(one / sum(truth)) for one in truth] for _ in range(n)]
        for i, k, v in said:
            for j in range(3):
                joint[i][j] += math.log(max(tables[k][j][v], 1e-300))
        posterior = [[math.exp(one - max(row)) for one in row] for row in joint]
        posterior = [[one / sum(row) for one in row] for row in posterior]
    return posterior, tables


@pytest.mark.parametrize(("symmetric", "priors"), [(True, 1.0), (False, 1.0), (False, 0.0)])
def test_it_is_em_written_out(symmetric: bool, priors: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ds, "COMPARISONS_AT_ONCE", 7)  # parts have no say
    verdicts = by_formula()
    fitted = ds.fit(verdicts, ds.Stopping(tolerance=-math.inf, max_iterations=6), symmetric=symmetric, priors=priors)
    posterior, tables = plain_em(verdicts, 6, symmetric=symmetric, priors=priors)
    np.testing.assert_allclose(fitted.posterior, posterior, atol=1e-10)
    np.testing.assert_allclose(fitted.parameters.theta, tables, atol=1e-10)


def test_the_model_of_1979_gives_crowd_kits_figures() -> None:
    """crowd-kit 1.4.2, DawidSkene(n_iter=500, tol=-inf) on the same verdicts; run once, its package is not needed here."""
    fitted = ds.fit(by_formula(), FOREVER, symmetric=False, priors=0)
    np.testing.assert_allclose(fitted.parameters.truth, [0.37456647, 0.30397379, 0.32145974], atol=1e-7)
    np.testing.assert_allclose(fitted.posterior[17], [0.903661, 0, 0.096339], atol=1e-6)
    theta = [[0.5507466, 0.4492534, 0], [0, 0.5367292, 0.4632708], [0.4922957, 0, 0.5077043]]
    np.testing.assert_allclose(fitted.parameters.theta[4], theta, atol=1e-6)


def test_the_objective_never_falls_and_em_stops_by_it() -> None:
    fitted = ds.fit(by_formula(), ds.Stopping(tolerance=1e-9))
    assert (np.diff(fitted.objectives) > -1e-9).all()
    assert fitted.converged
    assert fitted.objectives[-1] - fitted.objectives[-2] < 1e-9 * 360
    capped = ds.fit(by_formula(), ds.Stopping(max_iterations=3))
    assert (len(capped.objectives), capped.converged) == (4, False)


def test_the_maximum_is_one() -> None:
    """No parameter of a converged fit can be moved so that the objective, computed from its definition, rises."""
    verdicts = by_formula()
    fitted = ds.fit(verdicts, ds.Stopping(tolerance=1e-12, max_iterations=2000))

    def objective(truth: np.ndarray, theta: np.ndarray) -> float:
        joint = np.tile(np.log(truth), (verdicts.n_comparisons, 1))
        np.add.at(joint, verdicts.comparison, np.log(theta[verdicts.annotator, :, verdicts.verdict]))
        prior = (ds.THETA_PRIOR * np.log(theta)).sum() + (ds.TRUTH_PRIOR * np.log(truth)).sum()
        return float(np.logaddexp.reduce(joint, axis=1).sum() + prior)

    best = objective(*fitted.parameters)
    assert best == pytest.approx(fitted.objectives[-1])
    rng = np.random.default_rng(0)
    for _ in range(200):
        moved = fitted.parameters.theta * np.exp(0.01 * rng.normal(size=fitted.parameters.theta.shape))
        moved += moved[:, ::-1, ::-1]  # a and b stay the same but for their names
        assert objective(fitted.parameters.truth, moved / moved.sum(axis=2, keepdims=True)) < best


def test_known_reliabilities_are_recovered_with_their_errors() -> None:
    """Verdicts by the model itself: of 40 intervals, 95 % of which should hold the truth, at most 6 miss (binomial: p = 0.01)."""
    rng, n, right = np.random.default_rng(3), 3000, np.linspace(0.4, 0.95, 40)
    truth = rng.choice([0, 2], n)
    which, who = np.repeat(np.arange(n), 4), np.concatenate([rng.permutation(40)[:4] for _ in range(n)])
    said = np.where(rng.random(4 * n) < right[who], truth[which], 2 - truth[which])
    found = ds.dawid_skene(Verdicts.of(which, who, said)).reliability
    assert ((found.low <= right) & (right <= found.high)).sum() >= 34
    assert np.abs(found.value - right).max() < 0.1
    assert np.corrcoef(found.value, right)[0, 1] > 0.96


def test_the_standard_error_is_the_curvature() -> None:
    """Second difference of the objective, all else held, computed from the definition."""
    verdicts = paired(1, n=200).verdicts
    fitted = ds.fit(verdicts, ds.Stopping(tolerance=1e-13, max_iterations=5000))
    found = ds.dawid_skene(verdicts, ds.Stopping(tolerance=1e-13, max_iterations=5000)).reliability

    def objective(k: int, r: float) -> float:
        theta = fitted.parameters.theta.copy()
        decided = theta[k, 0, 0] + theta[k, 0, 2]
        theta[k, 0, [0, 2]] = theta[k, 2, [2, 0]] = decided * r, decided * (1 - r)
        joint = np.tile(np.log(fitted.parameters.truth), (verdicts.n_comparisons, 1))
        np.add.at(joint, verdicts.comparison, np.log(theta[verdicts.annotator, :, verdicts.verdict]))
        return float(np.logaddexp.reduce(joint, axis=1).sum() + (ds.THETA_PRIOR * np.log(theta[k])).sum())

    for k in range(verdicts.n_annotators):
        value, h = float(found.value[k]), 1e-4
        curvature = (objective(k, value + h) - 2 * objective(k, value) + objective(k, value - h)) / h**2
        assert found.standard_error[k] == pytest.approx((-curvature) ** -0.5, rel=1e-3)

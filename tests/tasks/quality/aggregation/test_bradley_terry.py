"""The Bradley-Terry model against finite differences, integrals by quadrature, evalica's plain model, and known parameters."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm, spearmanr

from tasks.quality.aggregation import paired_likelihood
from tasks.quality.aggregation.bradley_terry import beyond_threshold, bradley_terry, fit, posterior
from tasks.quality.aggregation.paired_likelihood import Models, Parameters, Priors, objective
from tasks.quality.aggregation.verdicts import Verdicts
from tests.tasks.quality.aggregation.generated import paired


def some_parameters(rng: np.random.Generator, models: int, people: int) -> Parameters:
    return Parameters(
        rng.normal(size=models), rng.normal(1, 1, people), rng.normal(size=people), rng.normal(-0.5, 0.5, people), 0.2, -0.4, 0.3
    )


def some_models(rng: np.random.Generator, n: int, models: int) -> Models:
    return Models(rng.integers(-1, models, n), rng.integers(-1, models, n), models)


def test_the_gradient_is_that_of_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired_likelihood, "CELLS_AT_ONCE", 31 * 17)  # parts have no say
    rng, verdicts, priors = np.random.default_rng(0), paired(0, n=60, people=6).verdicts, Priors()
    models, parameters = some_models(rng, 60, 3), some_parameters(rng, 3, 6)
    at, step = parameters.packed(), 1e-5
    gradient = objective(verdicts, models, priors, parameters)[1].packed()
    for place, move in enumerate(step * np.eye(len(at))):
        up, down = (objective(verdicts, models, priors, Parameters.unpacked(at + sign * move, 3, 6))[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((up - down) / (2 * step), rel=1e-6, abs=1e-6)


def test_the_likelihood_is_the_integral() -> None:
    """One comparison by the model's definition, the difference integrated out by adaptive quadrature."""
    parameters = Parameters(np.array([0.4, -0.3]), np.array([1.5, 0.7]), np.array([0.3, -0.2]), np.log([0.5, 0.9]), 0.1, -0.4, np.log(1.7))
    verdicts, models = Verdicts.of([0, 0, 0], [0, 1, 1], [0, 1, 2], [1, -1, 0]), Models(np.array([0]), np.array([1]), 2)

    def density(z: float) -> float:
        d = 0.7 + 1.7 * z
        x = 1.5 * d + 0.3, 0.7 * d + 0.2, 0.7 * d
        tie = 1 - expit(x[1] - 0.9) - expit(-x[1] - 0.9)
        return float(expit(x[0] - 0.5) * tie * expit(-x[2] - 0.9) * norm.pdf(z))

    none = Verdicts.of([], [], [], n_comparisons=1, n_annotators=2)
    found, prior = (objective(one, models, Priors(), parameters)[0] for one in (verdicts, none))
    evidence = quad(density, -8, 8, epsabs=1e-12)[0]
    assert found - prior == pytest.approx(np.log(evidence), abs=1e-5)
    nodes, mass = posterior(verdicts, models, Priors(nodes=301), parameters)
    chances = beyond_threshold(nodes, mass, 0.6)[0]
    above, below = (0.6 - 0.7) / 1.7, (-0.6 - 0.7) / 1.7
    assert chances[0] == pytest.approx(quad(density, above, 8)[0] / evidence, abs=1e-4)
    assert chances[2] == pytest.approx(quad(density, -8, below)[0] / evidence, abs=1e-4)
    assert chances.sum() == pytest.approx(1)


def test_without_ties_sides_and_differences_it_is_the_plain_model() -> None:
    """evalica's Bradley-Terry strengths, logarithms about their mean, of six models."""
    import evalica

    rng, strength = np.random.default_rng(0), np.array([0.0, 0.3, 0.8, 1.0, 1.5, 2.0])
    one = rng.integers(6, size=3000)
    two = (one + 1 + rng.integers(5, size=3000)) % 6
    first_won = rng.random(3000) < expit(strength[one] - strength[two])
    plain = Priors(quality=1e3, sensitivity=1e-4, side=1e-4, nodes=1)
    verdicts = Verdicts.of(np.arange(3000), np.zeros(3000, int), np.where(first_won, 0, 2))
    found = fit(verdicts, Models(one, two, 6), plain).parameters.quality
    winners = [evalica.Winner.X if won else evalica.Winner.Y for won in first_won]
    scores = evalica.bradley_terry([f"m{i}" for i in one], [f"m{i}" for i in two], winners, tolerance=1e-10).scores
    expected = np.log([scores[f"m{i}"] for i in range(6)])
    np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=0.02)


def test_known_parameters_are_recovered() -> None:
    world = paired(5, n=900)
    fitted = fit(world.verdicts, Models.unknown(900), Priors())
    assert fitted.converged
    scale = np.exp(fitted.parameters.log_spread) / 2  # only sensitivity times spread is told by the data
    assert np.corrcoef(fitted.parameters.sensitivity, world.sensitivity)[0, 1] > 0.95
    assert np.abs(fitted.parameters.sensitivity * scale - world.sensitivity).mean() < 0.25
    assert np.abs(fitted.parameters.side - world.side).max() < 0.35
    assert np.corrcoef(np.exp(fitted.parameters.log_tie), world.tie)[0, 1] > 0.8
    assert fitted.parameters.common_side == pytest.approx(world.side.mean(), abs=0.15)
    found = bradley_terry(world.verdicts, Models.unknown(900))
    assert spearmanr(found.reliability.value, world.sensitivity).statistic > 0.9
    assert np.abs(found.reliability.value[8:] - 0.5).max() < 0.12
    right = np.sign(found.probabilities[:, 0] - found.probabilities[:, 2]) == np.sign(world.differences)
    claimed = found.probabilities.max(axis=1)
    assert right[claimed > 0.9].mean() > 0.93


@pytest.mark.slow
def test_intervals_of_the_reliability_hold_the_truth() -> None:
    """The model's own world: reliability by the definition with the known parameters; 48 intervals, at most 7 miss."""
    inside = 0
    for seed in range(4):
        world = paired(10 + seed, n=1000)
        d = np.abs(world.differences)[:, None]
        chances = [[expit(s * world.sensitivity * d + t * world.side - world.tie).mean(axis=0) for t in (1, -1)] for s in (1, -1)]
        right, wrong = np.sum(chances, axis=1)
        found = bradley_terry(world.verdicts, Models.unknown(1000)).reliability
        inside += int(((found.low <= right / (right + wrong)) & (right / (right + wrong) <= found.high)).sum())
    assert inside >= 41


def test_a_named_model_speaks_for_its_responses() -> None:
    """Two comparisons with the same single verdict: the one of a model that always wins is surer."""
    n = 60
    of_a, of_b = np.full(n, -1), np.full(n, -1)
    of_a[:50], of_b[:50] = 0, 1
    verdicts = Verdicts.of(np.arange(n), np.arange(n) % 5, np.zeros(n, int))
    found = bradley_terry(verdicts, Models(of_a, of_b, 2)).probabilities
    assert found[0, 0] > found[55, 0] > 0.5
    half = bradley_terry(replace(verdicts, weight=np.full(n, 0.5)), Models.unknown(n)).probabilities
    assert half[0, 0] < found[55, 0]

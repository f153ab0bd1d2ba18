"""A Bradley-Terry model with ties, sides and annotators who differ, fitted by gradient: L-BFGS on the marginal likelihood with priors.

The preference of a comparison is what an annotator without noise or side would say: a tie where |d_i| ≤ τ.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.quality.aggregation.paired_likelihood import (
    Models,
    Parameters,
    Priors,
    integrate,
    log_sigmoid,
    objective,
    parts_of,
    verdict_likelihood,
)
from tasks.quality.aggregation.verdicts import Aggregated, Floats, Reliability, Verdicts


@dataclass(frozen=True)
class Fit:
    """A fitted model."""

    parameters: Parameters
    objective: float
    """Log posterior density, up to a constant."""
    iterations: int
    converged: bool
    information: Floats = field(repr=False)
    """(K, 3, 3) observed information of α_k, γ_k and log τ_k, all else held: sum of the scores' outer products, with the priors'."""


def bradley_terry(verdicts: Verdicts, models: Models, *, max_iterations: int = 200) -> Aggregated:
    """Aggregate by the Bradley-Terry model."""
    priors = Priors()
    fitted = fit(verdicts, models, priors, max_iterations)
    differences = models.differences(fitted.parameters.quality)
    deviation = np.sqrt(np.exp(2 * fitted.parameters.log_spread) + np.mean(differences**2) if len(differences) else 1.0)
    return Aggregated(
        _preferences(verdicts, models, priors, fitted.parameters),
        reliability(fitted, priors, float(deviation)),
        fitted.parameters.common_side,
        iterations=fitted.iterations,
        converged=fitted.converged,
    )


def fit(verdicts: Verdicts, models: Models, priors: Priors, max_iterations: int = 200) -> Fit:
    """The most probable parameters, by L-BFGS with the gradient of `objective`."""
    from scipy.optimize import minimize

    start = Parameters(
        np.zeros(models.n_models),
        np.ones(verdicts.n_annotators),
        np.zeros(verdicts.n_annotators),
        np.full(verdicts.n_annotators, np.log(0.5)),
        0.0,
        np.log(0.5),
        0.0,
    )

    def downhill(vector: Floats) -> tuple[float, Floats]:
        value, slope, _ = objective(verdicts, models, priors, Parameters.unpacked(vector, models.n_models, verdicts.n_annotators))
        return -value, -slope.packed()

    options = {"maxiter": max_iterations, "maxfun": 2 * max_iterations, "maxcor": 20, "ftol": 1e-10, "gtol": 1e-5}
    found: Any = minimize(downhill, start.packed(), jac=True, method="L-BFGS-B", options=options)
    parameters = Parameters.unpacked(found.x, models.n_models, verdicts.n_annotators)
    information = objective(verdicts, models, priors, parameters)[2] + np.diag([priors.sensitivity**-2, priors.side**-2, priors.tie**-2])
    return Fit(parameters, -float(found.fun), int(found.nit), bool(found.success), information)


def _preferences(verdicts: Verdicts, models: Models, priors: Priors, parameters: Parameters) -> Floats:
    """(N, 3) probability that the preference is a, a tie, b; in parts, since a posterior is larger than the verdicts."""
    found = np.empty((verdicts.n_comparisons, 3))
    for rows, part in parts_of(verdicts, priors.nodes):
        nodes, mass = posterior(part, models.of(rows), priors, parameters)
        found[rows] = beyond_threshold(nodes, mass, np.exp(parameters.common_log_tie))
    return found


def posterior(verdicts: Verdicts, models: Models, priors: Priors, parameters: Parameters) -> tuple[Floats, Floats]:
    """Possible differences d (N, nodes) of every comparison, evenly spaced, and their posterior mass."""
    nodes, _ = priors.grid
    steps = np.exp(parameters.log_spread) * nodes
    means, mass = models.differences(parameters.quality), np.empty((verdicts.n_comparisons, len(nodes)))
    for rows, part in parts_of(verdicts, priors.nodes):
        likelihood = verdict_likelihood(part, means[rows], steps, parameters, np.exp(parameters.log_tie))[2]
        mass[rows] = integrate(part, likelihood, priors)[1]
    return means[:, None] + steps, mass


def beyond_threshold(nodes: Floats, mass: Floats, threshold: float) -> Floats:
    """(N, 3) probability that d is above the threshold, within, and below it; a node's mass is spread evenly up to half-way to the next."""
    width = nodes[:, 1:2] - nodes[:, :1]
    above = (mass * np.clip((nodes - threshold) / width + 0.5, 0, 1)).sum(axis=1)
    below = (mass * np.clip((-threshold - nodes) / width + 0.5, 0, 1)).sum(axis=1)
    return np.stack([above, 1 - above - below, below], axis=1)


def reliability(fitted: Fit, priors: Priors, deviation: float) -> Reliability:
    """P(right) / (P(right) + P(wrong)) over normal differences of the comparisons' variance and both sides.

    The standard errors are by the delta method.
    """
    parameters, step = fitted.parameters, 1e-5
    nodes, weights = priors.grid
    half = len(nodes) // 2  # the middle node is 0, where either verdict is as right
    steps = deviation * nodes[half:], weights[half:] * np.where(np.arange(half + 1) == 0, 0.5, 1.0)
    own = np.stack([parameters.sensitivity, parameters.side, parameters.log_tie], axis=1)
    value = _share_right(own, *steps)
    slopes = np.stack(
        [(_share_right(own + move, *steps) - _share_right(own - move, *steps)) / (2 * step) for move in step * np.eye(3)], axis=1
    )
    variance = np.einsum("ki,kij,kj->k", slopes, np.linalg.inv(fitted.information), slopes)
    return Reliability.of(value, np.sqrt(variance))


def _share_right(own: Floats, differences: Floats, weights: Floats) -> Floats:
    """(K,) share of right verdicts among decided ones, of annotators with these α, γ and log τ (K, 3)."""
    seen, side, tau = own[:, :1] * differences, own[:, 1:2], np.exp(own[:, 2:])
    right = sum((np.exp(log_sigmoid(seen + sign * side - tau)) @ weights for sign in (1, -1)), np.zeros(len(own)))
    wrong = sum((np.exp(log_sigmoid(-seen + sign * side - tau)) @ weights for sign in (1, -1)), np.zeros(len(own)))
    return right / (right + wrong)

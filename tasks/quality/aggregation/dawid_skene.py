"""Dawid and Skene's model: each comparison has a true verdict, and each annotator a table of how likely it is to be taken for another.

A. P. Dawid and A. M. Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, 1979. Here

    P(truth i = j) = π_j,   P(verdict = l | truth = j, annotator k) = θ_k[j, l],

with categories in the order a, tie, b. Which response is called a says nothing, so turning every comparison round must change nothing:
π and θ are the same after a and b change places (π_a = π_b, θ[a, a] = θ[b, b] and so on). That halves the parameters, and its maximum
is the mean of the counts and the turned counts. Dirichlet priors, as pseudo-verdicts, keep the sparse annotators off 0 and 1, and say
that an annotator is better than chance before anything is known; so one annotator alone is believed, with doubt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tasks.quality.aggregation.verdicts import CATEGORIES, Aggregated, B, Floats, Reliability, Verdicts

COMPARISONS_AT_ONCE = 65_536
"""How many comparisons are in hand at once: bounds the memory beyond the verdicts themselves."""
THETA_PRIOR = np.array([[2.0, 0.5, 0.5], [0.5, 2.0, 0.5], [0.5, 0.5, 2.0]])
"""Pseudo-verdicts of every annotator, by truth and verdict."""
TRUTH_PRIOR = np.ones(3)
"""Pseudo-comparisons of each truth."""


@dataclass(frozen=True)
class Stopping:
    """When EM stops: the objective rose by less than `tolerance` per verdict, or after so many iterations."""

    tolerance: float = 1e-7
    max_iterations: int = 200


class Parameters(NamedTuple):
    """What the model is fitted to."""

    truth: Floats
    """(3,) π."""
    theta: Floats
    """(K, 3, 3) θ, by annotator, truth and verdict."""


class Fit(NamedTuple):
    """A fitted model."""

    parameters: Parameters
    posterior: Floats
    """(N, 3) probability of each truth."""
    objectives: list[float]
    """Log posterior density before each iteration, up to a constant; never falls."""
    converged: bool


def dawid_skene(verdicts: Verdicts, stopping: Stopping = Stopping()) -> Aggregated:
    """Aggregate by Dawid and Skene's model."""
    fitted = fit(verdicts, stopping)
    rounds = len(fitted.objectives) - 1
    reliability = _reliability(verdicts, fitted)
    return Aggregated(fitted.posterior, reliability, first_bias=np.nan, iterations=rounds, converged=fitted.converged)


def fit(verdicts: Verdicts, stopping: Stopping = Stopping(), *, symmetric: bool = True, priors: float = 1.0) -> Fit:
    """The most probable parameters, by EM from the vote shares.

    Args:
        verdicts: what was said.
        stopping: when EM stops.
        symmetric: whether a and b are the same but for their names; without it this is the model of 1979.
        priors: scale of the pseudo-verdicts; 0 gives maximum likelihood.
    """
    parts = list(_parts(verdicts))
    start = _shares(verdicts)
    counts = sum((part.T @ start[rows] for rows, part in parts), np.zeros((3 * verdicts.n_annotators, 3)))
    parameters = _maximise(counts, start.sum(axis=0), symmetric, priors)
    objectives: list[float] = []
    while True:
        likelihood, counts, truths = _expect(parts, parameters)
        objectives.append(likelihood + _log_prior(parameters, priors))
        rose = objectives[-1] - objectives[-2] if len(objectives) > 1 else np.inf
        converged = rose < stopping.tolerance * max(len(verdicts.verdict), 1)
        if converged or len(objectives) > stopping.max_iterations:
            return Fit(parameters, posterior(parts, parameters, verdicts.n_comparisons), objectives, bool(converged))
        parameters = _maximise(counts, truths, symmetric, priors)


Part = tuple[slice, Any]
"""Some comparisons, and a sparse matrix (comparisons, 3 K) of the weights of the verdicts on them, by annotator and category."""


def _parts(verdicts: Verdicts) -> Iterator[Part]:
    from scipy.sparse import csr_matrix

    ends = np.searchsorted(verdicts.comparison, np.arange(verdicts.n_comparisons + 1))
    columns = (verdicts.annotator * 3 + verdicts.verdict).astype(np.int32)
    for begin in range(0, verdicts.n_comparisons, COMPARISONS_AT_ONCE):
        rows = slice(begin, min(begin + COMPARISONS_AT_ONCE, verdicts.n_comparisons))
        bounds = ends[rows.start : rows.stop + 1]
        some = slice(bounds[0], bounds[-1])
        content = verdicts.weight[some], columns[some], (bounds - bounds[0]).astype(np.int32)
        yield rows, csr_matrix(content, shape=(rows.stop - rows.start, 3 * verdicts.n_annotators))


def _shares(verdicts: Verdicts) -> Floats:
    counts = verdicts.counts() + 1e-3
    return _normalised(counts)


def _expect(parts: Sequence[Part], parameters: Parameters) -> tuple[float, Floats, Floats]:
    """Log-likelihood, expected verdicts (3 K, 3) by annotator and verdict and by truth, and expected truths (3,)."""
    likelihood, counts, truths = 0.0, np.zeros((3 * len(parameters.theta), 3)), np.zeros(3)
    for _, part in parts:
        chances, evidence = _posterior(part, parameters)
        likelihood += evidence
        counts += part.T @ chances
        truths += chances.sum(axis=0)
    return likelihood, counts, truths


def posterior(parts: Sequence[Part], parameters: Parameters, n_comparisons: int) -> Floats:
    """(N, 3) probability of each truth."""
    found = np.empty((n_comparisons, 3))
    for rows, part in parts:
        found[rows] = _posterior(part, parameters)[0]
    return found


def _posterior(part: Any, parameters: Parameters) -> tuple[Floats, float]:
    """(n, 3) probability of each truth of some comparisons, and the log-likelihood of the verdicts on them."""
    log_theta = np.log(np.maximum(parameters.theta, np.finfo(np.float64).tiny)).transpose(0, 2, 1).reshape(-1, 3)
    chances = part @ log_theta + np.log(parameters.truth)
    highest = chances.max(axis=1, initial=-np.inf, keepdims=True)
    np.exp(np.subtract(chances, highest, out=chances), out=chances)
    total = chances @ np.ones((3, 1))
    chances /= total
    return chances, float(np.log(total).sum() + highest.sum())


def _maximise(counts: Floats, truths: Floats, symmetric: bool, priors: float) -> Parameters:
    theta = counts.reshape(-1, len(CATEGORIES), len(CATEGORIES)).transpose(0, 2, 1) + priors * THETA_PRIOR
    truth = truths + priors * TRUTH_PRIOR
    if symmetric:
        theta, truth = theta + theta[:, ::-1, ::-1], truth + truth[::-1]
    return Parameters(_normalised(truth), _normalised(theta))


def _normalised(counts: Floats) -> Floats:
    """Rows that add up to 1; one of zeros becomes even."""
    totals = counts.sum(axis=-1, keepdims=True)
    shares: Floats = np.divide(counts, totals, out=np.full(counts.shape, 1 / counts.shape[-1]), where=totals > 0)
    return shares


def _log_prior(parameters: Parameters, priors: float) -> float:
    if not priors:
        return 0.0
    return priors * float((THETA_PRIOR * np.log(parameters.theta)).sum() + (TRUTH_PRIOR * np.log(parameters.truth)).sum())


def _reliability(verdicts: Verdicts, fitted: Fit) -> Reliability:
    """r = θ[a, a] / (θ[a, a] + θ[a, b]), with the standard error that the observed information of r gives, all else held.

    The likelihood of one verdict is linear in r, so the information is the sum of squared scores: with posterior q and a verdict for
    a it is (q_a / r - q_b / (1 - r))². The true verdicts are unknown, and this counts them so.
    """
    theta = fitted.parameters.theta
    value = theta[:, 0, 0] / (theta[:, 0, 0] + theta[:, 0, 2])
    decided = verdicts.verdict != 1
    who, said = verdicts.annotator[decided], verdicts.verdict[decided]
    rows = verdicts.comparison[decided]
    right, wrong = fitted.posterior[rows, said], fitted.posterior[rows, B - said]
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = right / value[who] - wrong / (1 - value[who])
        told = np.bincount(who, verdicts.weight[decided] * scores**2, verdicts.n_annotators)
        information = told + 2 * THETA_PRIOR[0, 0] / value**2 + 2 * THETA_PRIOR[0, 2] / (1 - value) ** 2
    return Reliability.of(value, 1 / np.sqrt(information))

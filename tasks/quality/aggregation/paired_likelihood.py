"""The likelihood of paired verdicts with ties, a side that stood first, and annotators who differ; and its gradient.

The quality difference of comparison i is d_i = q(model of a) - q(model of b) + σ z_i: models have qualities, and z_i, standard
normal, is what is particular to these two responses. So a design in which every response stands in one comparison is identified, and
so is one in which no model is named. Annotator k sees x = α_k d_i + γ_k s, s = 1 where a stood first and -1 where b did, and

    P(a) = σ(x - τ_k),   P(b) = σ(-x - τ_k),   P(tie) = 1 - P(a) - P(b)

(Bradley and Terry, 1952; ties as in P. V. Rao and L. L. Kupper, Ties in Paired-Comparison Experiments, 1967): logistic noise on a
difference, and a tie where what is seen is nearer to 0 than τ_k. α_k ~ N(1, ·) sets the scale; below 0 is one who prefers the worse.
γ_k and log τ_k are normal around a common γ and log τ, which are fitted too. Since z_i rests on a few verdicts it is integrated out on
a grid, not estimated: its best value would follow each annotator's own verdict and make everybody reliable.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.quality.aggregation.verdicts import A, B, Floats, Ints, Verdicts

CELLS_AT_ONCE = 2_000_000
"""How many verdicts times grid nodes are in hand at once: bounds the memory."""


@dataclass(frozen=True)
class Priors:
    """Standard deviations of the normal priors, and where they stand."""

    quality: float = 1.0
    """Of a model's quality around 0."""
    sensitivity: float = 0.5
    """Of α_k around 1."""
    side: float = 0.5
    """Of γ_k around γ; γ itself is around 0 with standard deviation 1."""
    tie: float = 1.0
    """Of log τ_k around log τ; log τ itself is around log ½ with standard deviation 1."""
    spread: float = 1.0
    """Of log σ around 0."""
    nodes: int = 31
    """Nodes of the grid for z; a single one leaves z out, and the model is the plain one of qualities."""

    @cached_property
    def grid(self) -> tuple[Floats, Floats]:
        """Nodes and weights of the trapezoid rule, which for a smooth function under a normal density converges exponentially."""
        if self.nodes == 1:
            return np.zeros(1), np.ones(1)
        nodes = np.linspace(-4.5, 4.5, self.nodes)
        weights = np.exp(-(nodes**2) / 2)
        return nodes, weights / weights.sum()


@dataclass(frozen=True)
class Models:
    """Which model wrote which response."""

    of_a: Ints
    """(N,) number of the model that wrote response a; -1 where it is unknown, and then only z_i is left."""
    of_b: Ints
    n_models: int

    @classmethod
    def unknown(cls, n_comparisons: int) -> "Models":
        """No model is named."""
        return cls(np.full(n_comparisons, -1), np.full(n_comparisons, -1), 0)

    def of(self, rows: slice) -> "Models":
        """Those of some comparisons."""
        return Models(self.of_a[rows], self.of_b[rows], self.n_models)

    @cached_property
    def known(self) -> npt.NDArray[np.bool_]:
        """(N,) whether both models are known."""
        return (self.of_a >= 0) & (self.of_b >= 0)

    def differences(self, quality: Floats) -> Floats:
        """(N,) quality of a's model less that of b's."""
        found = np.zeros(len(self.of_a))
        found[self.known] = quality[self.of_a[self.known]] - quality[self.of_b[self.known]]
        return found

    def slopes(self, by_difference: Floats) -> Floats:
        """(models,) slopes by quality, of slopes (N,) by difference."""
        sides = ((self.of_a, 1), (self.of_b, -1))
        parts = [sign * np.bincount(of[self.known], by_difference[self.known], self.n_models) for of, sign in sides]
        return np.asarray(parts[0] + parts[1], np.float64)


class Parameters(NamedTuple):
    """What the model is fitted to."""

    quality: Floats
    """(models,) in units of the noise of an annotator with α = 1."""
    sensitivity: Floats
    """(K,) α."""
    side: Floats
    """(K,) γ_k."""
    log_tie: Floats
    """(K,) log τ_k."""
    common_side: float
    common_log_tie: float
    log_spread: float
    """log σ."""

    def packed(self) -> Floats:
        """All in one vector."""
        return np.concatenate([self.quality, self.sensitivity, self.side, self.log_tie, np.array(self[4:])])

    @classmethod
    def unpacked(cls, vector: Floats, n_models: int, n_annotators: int) -> "Parameters":
        """The inverse of `packed`."""
        sensitivity, side, log_tie = vector[n_models:-3].reshape(3, n_annotators)
        return cls(vector[:n_models], sensitivity, side, log_tie, *map(float, vector[-3:]))


def objective(verdicts: Verdicts, models: Models, priors: Priors, parameters: Parameters) -> tuple[float, Parameters, Floats]:
    """Log posterior density up to a constant, its gradient, and the outer products (K, 3, 3) of the annotators' scores."""
    nodes, _ = priors.grid
    spread, ties = np.exp(parameters.log_spread), np.exp(parameters.log_tie)
    means = models.differences(parameters.quality)
    by_mean, by_annotator = np.zeros(verdicts.n_comparisons), np.zeros((verdicts.n_annotators, 3))
    products, value, by_spread = np.zeros((verdicts.n_annotators, 9)), 0.0, 0.0
    for rows, part in parts_of(verdicts, priors.nodes):
        p, q, likelihood = verdict_likelihood(part, means[rows.start : rows.stop], spread * nodes, parameters, ties)
        evidence, mass = integrate(part, likelihood, priors)
        value += evidence
        slope_x, slope_tau = _slopes(part, p, q, ties)
        mass = mass[part.comparison] * part.weight[:, None]
        by_x, by_xz = (mass * slope_x).sum(axis=1), (mass * slope_x) @ nodes
        alpha = parameters.sensitivity[part.annotator]
        by_mean[rows] += np.bincount(part.comparison, alpha * by_x, part.n_comparisons)
        by_spread += float(alpha @ by_xz)
        scores = np.stack(
            [
                means[rows][part.comparison] * by_x + spread * by_xz,
                part.first * by_x,
                ties[part.annotator] * (mass * slope_tau).sum(axis=1),
            ],
            axis=1,
        )
        for one in range(3):
            by_annotator[:, one] += part.by_annotator(scores[:, one])
            for other in range(3):
                products[:, 3 * one + other] += part.by_annotator(scores[:, one] * scores[:, other])
    log_prior, slope = _prior(parameters, priors)
    gradient = Parameters(
        models.slopes(by_mean) + slope.quality,
        by_annotator[:, 0] + slope.sensitivity,
        by_annotator[:, 1] + slope.side,
        by_annotator[:, 2] + slope.log_tie,
        slope.common_side,
        slope.common_log_tie,
        spread * by_spread + slope.log_spread,
    )
    return value + log_prior, gradient, products.reshape(-1, 3, 3)


def parts_of(verdicts: Verdicts, nodes: int) -> Iterator[tuple[slice, Verdicts]]:
    """Some comparisons after the other, with the verdicts on them, whose comparisons are counted from 0."""
    ends = np.searchsorted(verdicts.comparison, np.arange(verdicts.n_comparisons + 1))
    begin = 0
    while begin < verdicts.n_comparisons:
        room = int(np.searchsorted(ends, ends[begin] + CELLS_AT_ONCE // nodes, "right")) - 1
        end = min(max(room, begin + 1), begin + CELLS_AT_ONCE // nodes, verdicts.n_comparisons)
        some = slice(ends[begin], ends[end])
        columns = verdicts.annotator[some], verdicts.verdict[some], verdicts.first[some], verdicts.weight[some]
        yield slice(begin, end), Verdicts(verdicts.comparison[some] - begin, *columns, end - begin, verdicts.n_annotators)
        begin = end


def verdict_likelihood(part: Verdicts, means: Floats, steps: Floats, parameters: Parameters, ties: Floats) -> tuple[Floats, Floats, Floats]:
    """P(a), P(b) and the log-probability of what was said, each (V, nodes)."""
    who, tau = part.annotator, ties[part.annotator][:, None]
    seen = parameters.sensitivity[who][:, None] * (means[part.comparison][:, None] + steps)
    seen += (parameters.side[who] * part.first)[:, None]
    log_p, log_q = log_sigmoid(seen - tau), log_sigmoid(-seen - tau)
    p, q = np.exp(log_p), np.exp(log_q)
    said = part.verdict[:, None]
    tie = _log1m(p) + _log1m(q) + np.log(-np.expm1(-2 * tau))  # σ(u) - σ(v) = σ(u) σ(-v) (1 - e^(v - u))
    return p, q, np.where(said == A, log_p, np.where(said == B, log_q, tie))


def log_sigmoid(x: Floats) -> Floats:
    """ln 1 / (1 + e^-x), without overflow."""
    return -np.logaddexp(0.0, -x)


def _log1m(p: Floats) -> Floats:
    return np.log1p(-np.minimum(p, 1 - 1e-16))


def integrate(part: Verdicts, likelihood: Floats, priors: Priors) -> tuple[float, Floats]:
    """Log-likelihood with z integrated out, and the posterior mass (n, nodes) of each comparison's z."""
    _, weights = priors.grid
    joint = np.tile(np.log(weights), (part.n_comparisons, 1))
    if len(part.verdict):
        begins = np.flatnonzero(np.diff(part.comparison, prepend=-1))
        joint[part.comparison[begins]] += np.add.reduceat(likelihood * part.weight[:, None], begins, axis=0)
    highest = joint.max(axis=1, keepdims=True)
    mass = np.exp(joint - highest)
    total = mass.sum(axis=1, keepdims=True)
    return float(np.log(total).sum() + highest.sum()), mass / total


def _slopes(part: Verdicts, p: Floats, q: Floats, ties: Floats) -> tuple[Floats, Floats]:
    """Derivatives (V, nodes) of the log-probability of what was said by x and by τ."""
    said = part.verdict[:, None]
    by_x = np.where(said == A, 1 - p, np.where(said == B, q - 1, q - p))
    normaliser = 2 / np.expm1(2 * ties[part.annotator])[:, None]
    by_tau = np.where(said == A, p - 1, np.where(said == B, q - 1, p + q + normaliser))
    return by_x, by_tau


def _prior(parameters: Parameters, priors: Priors) -> tuple[float, Parameters]:
    """Log prior density up to a constant, and its gradient."""
    normals: tuple[tuple[Any, float, float], ...] = (
        (parameters.quality, 0.0, priors.quality),
        (parameters.sensitivity, 1.0, priors.sensitivity),
        (parameters.side - parameters.common_side, 0.0, priors.side),
        (parameters.log_tie - parameters.common_log_tie, 0.0, priors.tie),
        (parameters.common_side, 0.0, 1.0),
        (parameters.common_log_tie, float(np.log(0.5)), 1.0),
        (parameters.log_spread, 0.0, priors.spread),
    )
    away = [(value - centre) / deviation for value, centre, deviation in normals]
    slopes = [-one / deviation for one, (_, _, deviation) in zip(away, normals, strict=True)]
    quality, sensitivity, side, log_tie, common_side, common_log_tie, log_spread = slopes
    slope = Parameters(
        quality, sensitivity, side, log_tie, common_side - float(np.sum(side)), common_log_tie - float(np.sum(log_tie)), log_spread
    )
    return -sum(float(np.sum(one**2)) for one in away) / 2, slope

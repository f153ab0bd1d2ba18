"""The likelihoods of judgments given a score difference: pure functions on tensors.

d = score(chosen) − score(rejected), σ the logistic function. What the three make of d:

- Bradley and Terry (1952) know no ties: P(chosen) = σ(d). A tie counts as half a judgment for either response.
- Rao and Kupper (1967) have a threshold η > 0 within which responses are not told apart:
  P(chosen) = σ(d − η), P(rejected) = σ(−d − η), and P(tie) is what is left: (e^{2η} − 1)·σ(d − η)·σ(−d − η).
- Davidson (1970) has a tie's share ν > 0: P(chosen) : P(rejected) : P(tie) = e^{d/2} : e^{−d/2} : ν.

η and ν are learned, as one real number each: η = softplus(tie), ν = exp(tie). Comparisons that favour neither response are
left out of the preferences, so these two describe ties within comparisons that were decided, and are lower than among all.

Shapes: O outcomes, in the order chosen, rejected and, but for Bradley-Terry, tie; B comparisons; K members of an ensemble; … any shape.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from models.configs import Labels, Likelihood

SAME = 1e-6
"""Shares of judgments that differ by less are the same: both are sums of a few fractions."""
FEWEST_TIES, MOST_TIES = 1e-3, 0.9
"""Bounds of the share of ties that a tie parameter starts from: at none and at all it would be infinite."""


def outcome_shares(likelihood: Likelihood, labels: Labels, probability: Tensor, tie_probability: Tensor, smoothing: float = 0.0) -> Tensor:
    """The shares (O, B) of a comparison's judgments that a likelihood is fitted to; they add up to 1.

    Args:
        likelihood: which outcomes there are.
        labels: `soft` keeps the shares; `hard` gives all to the most frequent outcome (equally to the most frequent ones).
        probability: (B,), that of `chosen`, a tie counting half: so that of `chosen` alone is probability − tie_probability / 2.
        tie_probability: (B,), the share of ties.
        smoothing: share of the judgments for either response that is taken to have meant the other one, from 0 to 0.5.
    """
    ties = torch.zeros_like(tie_probability) if likelihood == "bradley_terry" else tie_probability
    shares = torch.stack([probability - ties / 2, 1 - probability - ties / 2, ties]).clamp(min=0)
    if likelihood == "bradley_terry":
        shares = shares[:2]
    if labels == "hard":
        most = (shares >= shares.amax(0) - SAME).to(shares.dtype)
        shares = most / most.sum(0)
    return torch.cat([(1 - smoothing) * shares[:2] + smoothing * shares[:2].flip(0), shares[2:]])


def log_probabilities(likelihood: Likelihood, differences: Tensor, tie: Tensor | None = None) -> Tensor:
    """Log-probabilities (O, …) of the outcomes at score differences (…).

    Args:
        likelihood: which model.
        differences: score(chosen) − score(rejected).
        tie: the tie parameter, of a shape that broadcasts to (…); Bradley-Terry has none.
    """
    if likelihood == "bradley_terry":
        return torch.stack([F.logsigmoid(differences), F.logsigmoid(-differences)])
    if tie is None:
        raise ValueError(f"the likelihood {likelihood} has a tie parameter")
    if likelihood == "rao_kupper":
        threshold = F.softplus(tie)
        chosen, rejected = F.logsigmoid(differences - threshold), F.logsigmoid(-differences - threshold)
        return torch.stack([chosen, rejected, chosen + rejected + 2 * threshold + torch.log(-torch.expm1(-2 * threshold))])
    return torch.log_softmax(torch.stack([differences / 2, -differences / 2, tie.expand_as(differences)]), 0)


def negative_log_likelihood(shares: Tensor, log_probabilities: Tensor) -> Tensor:
    """Mean over a comparison's judgments of −ln P(outcome), (…), for shares and log-probabilities (O, …)."""
    return -(shares * log_probabilities).sum(0)


def preference_log_odds(log_probabilities: Tensor) -> Tensor:
    """Log-odds (B,) of `chosen`, a tie counting half, from K members' log-probabilities (O, B, K), of which the mean is taken.

    The logistic function of it is what `probability` estimates. With one member, Bradley-Terry's is the score difference.
    """
    sides, ties = log_probabilities[:2], log_probabilities[2:]
    if len(ties):
        sides = torch.logaddexp(sides, ties - math.log(2))
    totals = sides.logsumexp(-1)
    return totals[0] - totals[1]


def initial_tie(likelihood: Likelihood, tie_share: float) -> float:
    """The tie parameter at which equal scores give this share of ties: a start, since scores are equal when training starts."""
    share = min(max(tie_share, FEWEST_TIES), MOST_TIES)
    if likelihood == "rao_kupper":  # P(tie) = 1 − 2σ(−η) = tanh(η / 2)
        return math.log(math.expm1(2 * math.atanh(share)))
    return math.log(2 * share / (1 - share))  # P(tie) = ν / (2 + ν)

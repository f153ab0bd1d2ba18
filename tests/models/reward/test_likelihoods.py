"""Likelihoods of judgments. Oracles: the papers' formulas in strengths π, scipy, scikit-learn, planted parameters."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import logistic
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from models.configs import Likelihood
from models.reward.likelihoods import (
    initial_tie,
    log_probabilities,
    negative_log_likelihood,
    outcome_shares,
    preference_log_odds,
)

LIKELIHOODS: tuple[Likelihood, ...] = ("bradley_terry", "rao_kupper", "davidson")
WITH_TIES: tuple[Likelihood, ...] = ("rao_kupper", "davidson")
real = st.floats(-15, 15)


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def by_strengths(likelihood: Likelihood, a: float, b: float, tie: float) -> list[float]:
    """The outcomes' probabilities as the papers write them, in strengths a = exp(score)."""
    if likelihood == "bradley_terry":
        return [a / (a + b), b / (a + b)]
    if likelihood == "rao_kupper":
        theta = 1 + math.exp(tie)  # e^η with η = softplus(tie)
        return [a / (a + theta * b), b / (b + theta * a), (theta**2 - 1) * a * b / ((a + theta * b) * (b + theta * a))]
    whole = a + b + math.exp(tie) * math.sqrt(a * b)
    return [a / whole, b / whole, math.exp(tie) * math.sqrt(a * b) / whole]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@given(score_a=st.floats(-6, 6), score_b=st.floats(-6, 6), tie=st.floats(-6, 3))
def test_probabilities_are_those_of_the_papers(likelihood: Likelihood, score_a: float, score_b: float, tie: float) -> None:
    found = log_probabilities(likelihood, doubles(score_a - score_b), doubles(tie)).exp()[:, 0]
    assert found.tolist() == pytest.approx(by_strengths(likelihood, math.exp(score_a), math.exp(score_b), tie), rel=1e-6)


@given(difference=st.floats(-8, 8), threshold=st.floats(0.05, 5))
def test_rao_kuppers_ties_are_a_logistic_variable_within_the_threshold(difference: float, threshold: float) -> None:
    tie = doubles(math.log(math.expm1(threshold)))
    found = log_probabilities("rao_kupper", doubles(difference), tie).exp()[:, 0]
    low, high = logistic.cdf(-threshold - difference), logistic.cdf(threshold - difference)
    assert found.tolist() == pytest.approx([1 - high, low, high - low], rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@given(difference=real, tie=st.floats(-10, 6))
def test_probabilities_add_up_and_turn_with_the_sides(likelihood: Likelihood, difference: float, tie: float) -> None:
    found = log_probabilities(likelihood, doubles(difference, -difference), doubles(tie)).exp()
    assert found.sum(0).tolist() == pytest.approx([1, 1])
    order = [1, 0, 2][: len(found)]
    torch.testing.assert_close(found[order, 1], found[:, 0])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@given(one=st.floats(-8, 8), other=st.floats(-8, 8), tie=st.floats(-4, 3))
def test_log_odds_are_those_of_the_members_mean_with_half_the_ties(likelihood: Likelihood, one: float, other: float, tie: float) -> None:
    found = preference_log_odds(log_probabilities(likelihood, doubles(one, other)[None], doubles(tie)))
    shares = np.mean([by_strengths(likelihood, math.exp(d / 2), math.exp(-d / 2), tie) for d in (one, other)], axis=0)
    share = shares[0] + (shares[2] / 2 if len(shares) == 3 else 0)
    assert found.item() == pytest.approx(math.log(share / (1 - share)), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_large_differences_stay_finite(likelihood: Likelihood) -> None:
    differences = torch.tensor([-3e4, 3e4], requires_grad=True)
    loss = negative_log_likelihood(torch.full((2 if likelihood == "bradley_terry" else 3, 2), 0.3), log_probabilities(
        likelihood, differences, torch.tensor([-20.0]))).sum()  # fmt: skip
    loss.backward()
    assert torch.isfinite(loss)
    assert differences.grad is not None
    assert torch.isfinite(differences.grad).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradients_by_finite_differences(likelihood: Likelihood) -> None:
    differences = doubles(0.0, 2.0, -1.0).requires_grad_()
    tie = doubles(0.3).requires_grad_()
    shares = outcome_shares(likelihood, "soft", doubles(1.0, 0.75, 0.5), doubles(0.0, 0.25, 0.4))
    inputs = (differences, tie) if likelihood != "bradley_terry" else (differences,)
    assert torch.autograd.gradcheck(lambda d, t=None: negative_log_likelihood(shares, log_probabilities(likelihood, d, t)).sum(), inputs)


def test_bradley_terrys_loss_by_hand() -> None:
    shares = outcome_shares("bradley_terry", "soft", doubles(1.0, 0.75, 0.5), doubles(0.0, 0.3, 1.0))
    losses = negative_log_likelihood(shares, log_probabilities("bradley_terry", doubles(0.0, 2.0, -1.0)))
    expected = [math.log(2), 0.75 * math.log(1 + math.exp(-2)) + 0.25 * math.log(1 + math.exp(2))]
    expected.append(0.5 * math.log(1 + math.exp(1)) + 0.5 * math.log(1 + math.exp(-1)))
    assert losses.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@given(votes=st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)).filter(lambda v: sum(v) > 0), difference=real)
def test_soft_labels_weighted_by_judgments_are_the_judgments_one_by_one(
    likelihood: Likelihood, votes: tuple[int, int, int], difference: float
) -> None:
    chosen, rejected, ties = votes
    n, d, tie = sum(votes), doubles(difference), doubles(-0.5)
    shares = outcome_shares(likelihood, "soft", doubles((chosen + ties / 2) / n), doubles(ties / n))
    found = n * negative_log_likelihood(shares, log_probabilities(likelihood, d, tie))
    of_chosen, of_rejected, *of_tie = by_strengths(likelihood, math.exp(difference / 2), math.exp(-difference / 2), -0.5)
    tie_loss = math.log(of_tie[0]) if of_tie else (math.log(of_chosen) + math.log(of_rejected)) / 2  # half a judgment for either
    expected = -(chosen * math.log(of_chosen) + rejected * math.log(of_rejected) + ties * tie_loss)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-4)


def test_hard_labels_are_the_most_frequent_outcome() -> None:
    probability, ties = doubles(2 / 3, 0.5, 0.6, 0.5), doubles(0.0, 0.0, 0.6, 1.0)
    assert outcome_shares("bradley_terry", "hard", probability, ties).T.tolist() == [[1, 0], [0.5, 0.5], [1, 0], [0.5, 0.5]]
    assert outcome_shares("davidson", "hard", probability, ties).T.tolist() == [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_smoothing_turns_a_share_of_the_judgments_round(likelihood: Likelihood) -> None:
    smoothed = outcome_shares(likelihood, "soft", doubles(0.85), doubles(0.1), smoothing=0.1)
    expected = [0.85 * 0.9 + 0.15 * 0.1, 0.15 * 0.9 + 0.85 * 0.1] if likelihood == "bradley_terry" else [0.73, 0.17, 0.1]
    assert smoothed[:, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("likelihood", WITH_TIES)
@pytest.mark.parametrize("share", [0.01, 0.2, 0.7])
def test_the_tie_parameter_starts_at_the_share_of_ties(likelihood: Likelihood, share: float) -> None:
    found = log_probabilities(likelihood, doubles(0.0), doubles(initial_tie(likelihood, share))).exp()
    assert found[2].item() == pytest.approx(share)
    assert math.isfinite(initial_tie(likelihood, 0.0))


# Fitting scores to judgments: what was planted comes back.

SCORES = np.array([-1.2, -0.4, 0.0, 0.3, 1.3])
PAIRS = [(i, j) for i in range(5) for j in range(5) if i < j]
EACH = 20_000


def fit(likelihood: Likelihood, counts: np.ndarray) -> tuple[np.ndarray, float]:  # type: ignore[type-arg]
    """Scores (mean 0) and tie parameter of the highest likelihood, for counts (pairs, 3) of a, b and tie."""
    n = torch.tensor(counts.sum(1), dtype=torch.float64)
    a, _, t = (torch.tensor(column, dtype=torch.float64) for column in counts.T)
    shares = outcome_shares(likelihood, "soft", (a + t / 2) / n, t / n)
    scores, tie = torch.zeros(5, dtype=torch.float64, requires_grad=True), torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores, tie], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")
    first, second = zip(*PAIRS, strict=True)

    def loss() -> float:
        optimizer.zero_grad()
        found = log_probabilities(likelihood, scores[list(first)] - scores[list(second)], tie)
        value = (n * negative_log_likelihood(shares, found)).sum() / n.sum()
        value.backward()
        return value.item()

    optimizer.step(loss)
    fitted = scores.detach().numpy()
    return fitted - fitted.mean(), tie.item()


@pytest.mark.parametrize("likelihood", WITH_TIES)
def test_planted_scores_and_ties_are_recovered(likelihood: Likelihood) -> None:
    """With 20,000 judgments of each pair the standard errors are below 0.01 (each score has 80,000 judgments)."""
    random, tie = np.random.default_rng(0), 0.2
    strengths = np.exp(SCORES)
    counts = np.array([random.multinomial(EACH, by_strengths(likelihood, strengths[i], strengths[j], tie)) for i, j in PAIRS])
    scores, found = fit(likelihood, counts)
    assert scores == pytest.approx(SCORES - SCORES.mean(), abs=0.04)
    assert found == pytest.approx(tie, abs=0.04)


def test_bradley_terry_is_scikit_learns_logistic_regression() -> None:
    """Every judgment is a row with +1 and −1 for the two responses; a tie is half a row for either."""
    random = np.random.default_rng(1)
    counts = np.array([[*random.integers(1, 9, 2), 2 * random.integers(0, 4)] for _ in PAIRS])
    rows = np.zeros((2 * len(PAIRS), 5))
    for number, (i, j) in enumerate(PAIRS):
        rows[[2 * number, 2 * number + 1], i], rows[[2 * number, 2 * number + 1], j] = 1, -1
    weights = np.stack([counts[:, 0] + counts[:, 2] / 2, counts[:, 1] + counts[:, 2] / 2], 1).ravel()
    oracle = LogisticRegression(C=1e10, fit_intercept=False, tol=1e-10, max_iter=1000)
    oracle.fit(rows, np.tile([1, 0], len(PAIRS)), sample_weight=weights)
    expected = oracle.coef_[0] - oracle.coef_[0].mean()
    assert fit("bradley_terry", counts)[0] == pytest.approx(expected, abs=1e-4)

"""The win rate with the responses' lengths taken out of it.

After length-controlled AlpacaEval (Dubois et al., 2024), without its term for an instruction's difficulty, which needs many models:
a logistic regression of the win shares y on how much longer the policy's response is,

    P(y) = sigma(theta + phi * tanh(d / s)),    d = length - opponent's length in tokens, s = the standard deviation of d,

and the length-controlled win rate sigma(theta): the share of wins to be expected between responses of one length. Both coefficients
have a normal prior of standard deviation 10, so that a policy which always wins has a win rate just below 1 and not a fit that runs away.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.evaluation.intervals import CHUNK, LEVEL, Interval, between_members, of_a_share

Floats = NDArray[np.float64]
PRECISION = 0.01
"""Of the prior: 1 / 10 squared."""
STEPS, LONGEST_STEP, CLOSE = 100, 2.0, 1e-8
"""Of Newton's method: how many at most, how far one may go, and when it has arrived."""


def length_controlled_win_rate(wins: ArrayLike, lengths: ArrayLike, opponent_lengths: ArrayLike, *, resamples: int, seed: int) -> Interval:
    """The length-controlled win rate with its percentile bootstrap interval over prompts.

    Args:
        wins: win shares by each of the judge's K members, (n, K): 1, one half for a tie, or 0; or (n,), by one. How much the members
            differ widens the interval.
        lengths: tokens of the policy's responses (n,).
        opponent_lengths: tokens of the opponent's (n,).
        resamples: bootstrap resamples of prompts.
        seed: seed of their random numbers.
    """
    by_member = np.asarray(wins, dtype=np.float64)
    by_member = by_member.reshape(len(by_member), -1).T
    y = by_member.mean(0)
    x = length_term(np.asarray(lengths, dtype=np.float64) - np.asarray(opponent_lengths, dtype=np.float64))
    random, n = np.random.default_rng(seed), len(y)
    rows, rates = max(1, CHUNK // (8 * n)), []
    for done in range(0, resamples, rows):
        weights = random.multinomial(n, np.full(n, 1 / n), size=min(rows, resamples - done)).astype(np.float64)
        rates.append(win_rates(fit(y, x, weights)))
    low, high = np.quantile(np.concatenate(rates), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    over_prompts = Interval(float(win_rates(fit(y, x, np.ones((1, n))))[0]), float(low), float(high))
    return of_a_share(between_members(over_prompts, win_rates(fit(by_member, x, np.ones_like(by_member)))))


def length_term(differences: Floats) -> Floats:
    """How much longer the responses are (n,), in standard deviations and squeezed between -1 and 1; 0 where all differ alike."""
    spread = differences.std()
    return np.tanh(differences / spread) if spread > 0 else np.zeros_like(differences)


def win_rates(coefficients: Floats) -> Floats:
    """The length-controlled win rates (R,) of coefficients (R, 2)."""
    rates: Floats = 1 / (1 + np.exp(-coefficients[:, 0]))
    return rates


def fit(y: Floats, x: Floats, weights: Floats) -> Floats:
    """Coefficients (R, 2), theta and phi, of R regressions of y, (n,) or (R, n), on x (n,), by Newton's method; weights are (R, n)."""
    found = np.zeros((len(weights), 2))
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-(found[:, :1] + found[:, 1:] * x)))
        residual, curvature = weights * (y - p), weights * p * (1 - p)
        slope = np.stack([residual.sum(1), residual @ x], 1) - PRECISION * found
        a, b, c = curvature.sum(1) + PRECISION, curvature @ x, curvature @ x**2 + PRECISION
        step = np.stack([c * slope[:, 0] - b * slope[:, 1], a * slope[:, 1] - b * slope[:, 0]], 1) / (a * c - b**2)[:, None]
        found += np.clip(step, -LONGEST_STEP, LONGEST_STEP)
        if np.abs(step).max() < CLOSE:
            break
    return found

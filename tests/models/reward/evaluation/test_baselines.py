"""Baselines of a reward model. Oracles: scikit-learn, and leaving judgments out one by one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from models.reward.evaluation.baselines import LengthOnly, fit_length_only, left_out
from tests.models.reward.pairs import preference


def test_length_only_is_scikit_learns_logistic_regression() -> None:
    random = np.random.default_rng(0)
    pairs = [
        preference(f"p{i}", (int(a), int(b)), float(p), weight=float(w))
        for i, (a, b, p, w) in enumerate(
            zip(*random.integers(1, 40, (2, 200)), random.uniform(0, 1, 200), random.uniform(0.5, 2, 200), strict=True)
        )
    ]
    lengths = np.array([p.chosen.response_length - p.rejected.response_length for p in pairs], dtype=float)
    probabilities, weights = np.array([p.probability for p in pairs]), np.array([p.weight for p in pairs])
    oracle = LogisticRegression(C=1e10, fit_intercept=False, tol=1e-10)
    oracle.fit(
        np.tile(lengths, 2)[:, None], [1] * 200 + [0] * 200, np.concatenate([weights * probabilities, weights * (1 - probabilities)])
    )
    assert fit_length_only(pairs).slope == pytest.approx(oracle.coef_[0, 0], abs=1e-5)


def test_length_that_decides_everything_or_nothing() -> None:
    assert math.isfinite(fit_length_only([preference("p", (9, 1), 1.0), preference("q", (5, 2), 1.0)]).slope)
    assert fit_length_only([preference("p", (4, 4), 1.0)]) == LengthOnly(0.0)


@given(
    votes=st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)).filter(lambda v: sum(v) > 0),
    favourite=st.sampled_from([1, 0, -1]),
)
def test_leaving_judgments_out_one_by_one(votes: tuple[int, int, int], favourite: int) -> None:
    chosen, rejected, ties = votes
    n = sum(votes)
    judgments = [1] * chosen + [-1] * rejected + [0] * ties
    people, model, count = 0.0, 0.0, 0
    for own in judgments:
        if own and n > 1:
            majority = np.sign(sum(judgments) - own)
            count += 1
            people += 0.5 if majority == 0 else float(own == majority)
            model += 0.5 if majority == 0 or favourite == 0 else float(favourite == majority)
    pair = preference("p", (3, 3), 0.87, n_judgments=n, n_chosen=chosen, n_rejected=rejected)  # a model's estimate beside the counts
    assert left_out(pair, float(favourite)) == pytest.approx((count, people, model))

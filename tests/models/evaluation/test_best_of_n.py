"""Best of n against brute force over all subsets, and its KL against an exact one."""

import math
from itertools import combinations

import numpy as np
import pytest

from models.evaluation.best_of_n import at_kl, expected_best, passed_figures
from models.evaluation.overoptimization import kl_of_best


def test_what_is_expected_of_the_best_of_n_is_the_mean_over_all_subsets() -> None:
    random = np.random.default_rng(0)
    scores, values = random.normal(size=(3, 6)), random.normal(size=(3, 6))
    found = expected_best(scores, values)
    for prompt in range(3):
        for n in range(1, 7):
            best = [values[prompt][max(chosen, key=lambda i: scores[prompt][i])] for chosen in combinations(range(6), n)]
            assert found[prompt, n - 1] == pytest.approx(np.mean(best))


def test_its_kl_is_the_exact_one_of_many_responses() -> None:
    """Of m equally likely responses with different scores the best of n is the i-th with probability (i/m)^n - ((i-1)/m)^n."""
    m = 4000
    for n in (1, 2, 8, 32):
        chances = np.diff((np.arange(m + 1) / m) ** n)
        exact = float((chances * np.log(np.maximum(chances * m, 1e-300))).sum())
        assert kl_of_best(n) == pytest.approx(exact, abs=0.01)
    assert kl_of_best(4) == pytest.approx(math.log(4) - 0.75)


def test_between_two_n_the_curve_goes_in_proportion_to_the_kl() -> None:
    curve = np.array([[0.0, 1.0, 3.0]])
    assert at_kl(curve, kl_of_best(2)) == pytest.approx([1.0])
    assert at_kl(curve, (kl_of_best(2) + kl_of_best(3)) / 2) == pytest.approx([2.0])
    assert at_kl(curve, kl_of_best(2) / 4) == pytest.approx([0.25])
    assert at_kl(curve, kl_of_best(3) + 0.01) is None
    assert at_kl(curve, 0.0) is None


def test_the_policy_passes_the_best_of_sixteen_where_its_gains_in_training_first_reach_it() -> None:
    """By hand: from (1, 0.4) to (3, 1.0) a gain of 0.7 is reached half way; the judge's never reach theirs."""
    best = [{"figure": f"best_of_16_{name}_gain", "value": 0.7} for name in ("score", "judge_score")]
    kls, scores, judge_scores = (0.0, 1.0, 3.0, 4.0), (-0.2, 0.2, 0.8, 0.1), (0.5, 0.6, 1.1, 0.9)
    metrics = [
        {"validation_kl_k1": kl, "validation_score": score, "validation_judge_score": judge_score}
        for kl, score, judge_score in zip(kls, scores, judge_scores, strict=True)
    ]
    (row,) = passed_figures(best, metrics)
    assert row == {
        "slice": "all",
        "figure": "kl_past_best_of_16_score",
        "value": pytest.approx(2.0),
        "low": None,
        "high": None,
        "judge_half_width": None,
        "n": 3,
    }
    assert not list(passed_figures([{"figure": "best_of_16_score_gain", "value": -0.1}], metrics))
    assert not list(passed_figures(best, metrics[1:]))

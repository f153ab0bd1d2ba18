"""Figures of a reward model. Oracles: hand calculation, numpy's correlation, the binomial distribution."""

import math

import numpy as np
import pytest

from models.language.text import EncodedPair
from models.reward.preference_data import Preference
from models.reward.reward_evaluation import Scores, clustered_interval, evaluate_scores, log_loss


def preference(prompt: str, lengths: tuple[int, int], probability: float, weight: float = 1.0, slice_name: str = "x") -> Preference:
    chosen, rejected = (EncodedPair([0] * (n + 1), n, prompt_cut=False, response_cut=n > 8) for n in lengths)
    return Preference(prompt, slice_name, chosen, rejected, probability, weight)


def test_figures_by_hand() -> None:
    preferences = [
        preference("p", (3, 5), 1.0),
        preference("p", (9, 2), 0.9, weight=2.0),
        preference("q", (4, 4), 0.75, slice_name="y"),
        preference("r", (7, 1), 0.5, slice_name="y"),  # a tie: counts in the loss only
    ]
    chosen, rejected = np.array([1.0, 0.5, 2.0, -1.0]), np.array([0.0, 1.0, 2.0, 1.0])
    figures = evaluate_scores(preferences, Scores(10 * chosen, 10 * rejected, chosen - rejected))
    assert (figures["n_pairs"], figures["n_prompts"]) == (4, 3)
    assert figures["accuracy"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert figures["length_accuracy"] == pytest.approx((0 + 1 + 0.5) / 3)
    lengths = [3, 9, 4, 7, 5, 2, 4, 1]
    assert figures["score_length_correlation"] == pytest.approx(np.corrcoef([*chosen, *rejected], lengths)[0, 1])
    assert (figures["prompts_cut"], figures["responses_cut"]) == (0, 1)
    assert set(figures["slices"]) == {"x", "y"}  # type: ignore[call-overload]
    assert figures["slices"]["y"]["accuracy"] == 0.5  # type: ignore[index]
    losses = [math.log(1 + math.exp(-1)), 0.9 * math.log(1 + math.exp(0.5)) + 0.1 * math.log(1 + math.exp(-0.5)), math.log(2)]
    losses.append(0.5 * math.log(1 + math.exp(2)) + 0.5 * math.log(1 + math.exp(-2)))
    assert figures["log_loss"] == pytest.approx((losses[0] + 2 * losses[1] + losses[2] + losses[3]) / 5)


def test_log_loss_stands_large_margins() -> None:
    assert log_loss(np.array([-1e4]), np.array([1.0]), np.array([1.0])) == pytest.approx(1e4)


def test_interval_of_one_value_per_prompt_is_near_the_binomial_one() -> None:
    n, successes = 400, 240
    values = np.array([1.0] * successes + [0.0] * (n - successes))
    interval = clustered_interval(values, [f"p{i}" for i in range(n)])
    assert interval is not None
    half = 1.96 * math.sqrt(0.6 * 0.4 / n)
    assert interval == pytest.approx((0.6 - half, 0.6 + half), abs=0.006)


def test_interval_is_wider_when_prompts_answer_as_one() -> None:
    # 40 prompts with 10 equal values each are worth 40 values, not 400.
    values = np.repeat([1.0] * 24 + [0.0] * 16, 10)
    interval = clustered_interval(values, [f"p{i // 10}" for i in range(400)])
    assert interval is not None
    half = 1.96 * math.sqrt(0.6 * 0.4 / 40)
    assert interval == pytest.approx((0.6 - half, 0.6 + half), abs=0.03)


def test_what_is_undefined_is_none() -> None:
    assert clustered_interval(np.array([1.0, 0.0]), ["p", "p"]) is None
    figures = evaluate_scores([preference("p", (3, 3), 0.5)], Scores(np.array([1.0]), np.array([1.0]), np.array([0.0])))
    assert figures["accuracy"] is None
    assert figures["accuracy_low"] is None
    assert figures["score_length_correlation"] is None

"""Figures of a reward model. Oracles: hand calculation, numpy's and scipy's correlations, scikit-learn's losses, what must follow."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import brier_score_loss, log_loss

from data_contracts.records import REWARD_FIGURE
from models.reward.evaluation.baselines import LengthOnly
from models.reward.evaluation.reward_evaluation import as_json, evaluate_scores
from models.reward.evaluation.reward_figures import Scores
from models.reward.preference_data import Preference
from tests.models.reward.pairs import preference


def figures(preferences: list[Preference], scores: Scores, length_only: LengthOnly | None = None) -> dict[str, Any]:
    rows = evaluate_scores(preferences, scores, length_only or LengthOnly(0.5))
    REWARD_FIGURE.table([{"split": "test", **row} for row in rows])
    keys = [(row["grouping"], row["part"], row["figure"]) for row in rows]
    assert len(set(keys)) == len(keys)
    return as_json(rows)


def some_scores(chosen: list[float], rejected: list[float]) -> Scores:
    a, b = np.array(chosen), np.array(rejected)
    return Scores(10 * a, 10 * b, a - b, (a - b) / 2)


def test_figures_by_hand() -> None:
    preferences = [
        preference("p", (3, 5), 1.0),
        preference("p", (9, 2), 0.9, weight=2.0),
        preference("q", (4, 4), 0.75, slice_name="y"),
        preference("r", (7, 1), 0.5, slice_name="y"),  # a tie: counts in the losses only
    ]
    chosen, rejected = [1.0, 0.5, 2.0, -1.0], [0.0, 1.0, 2.0, 1.0]
    found = figures(preferences, some_scores(chosen, rejected))
    assert (found["n_pairs"], found["n_prompts"]) == (4, 3)
    assert found["accuracy"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert found["length_accuracy"] == found["length_only_accuracy"] == pytest.approx((0 + 1 + 0.5) / 3)
    assert found["accuracy_over_length_only"] == pytest.approx(0)
    assert found["length_balanced_accuracy"] == pytest.approx((0 / 1 + 1 / 1) / 2)  # longer chosen: wrong; shorter chosen: right
    lengths = [3, 9, 4, 7, 5, 2, 4, 1]
    assert found["score_length_correlation"] == pytest.approx(np.corrcoef([*chosen, *rejected], lengths)[0, 1])
    assert (found["prompts_cut"], found["responses_cut"]) == (0, 1)
    assert set(found["slices"]) == {"x", "y"}
    assert found["slices"]["y"]["accuracy"] == 0.5
    losses = [math.log(1 + math.exp(-1)), 0.9 * math.log(1 + math.exp(0.5)) + 0.1 * math.log(1 + math.exp(-0.5)), math.log(2)]
    losses.append(0.5 * math.log(1 + math.exp(2)) + 0.5 * math.log(1 + math.exp(-2)))
    expected = (losses[0] + 2 * losses[1] + losses[2] + losses[3]) / 5
    assert found["log_loss"] == pytest.approx(expected)
    assert found["log_loss_gain"] == pytest.approx(math.log(2) - expected)


def test_losses_by_scikit_learn() -> None:
    """A soft label is a row of either class, weighted by its share."""
    random = np.random.default_rng(0)
    log_odds, weights = random.normal(size=90), random.uniform(0.5, 2, 90)
    probabilities = random.integers(2, 5, 90) / 4
    pairs = [preference(f"p{i}", (3, 4), p, weight=w) for i, (p, w) in enumerate(zip(probabilities, weights, strict=True))]
    found = figures(pairs, Scores(log_odds, 0 * log_odds, log_odds, log_odds / 3))
    classes, shares = [1] * 90 + [0] * 90, np.concatenate([weights * probabilities, weights * (1 - probabilities)])
    for name, values in (("log_loss", log_odds), ("calibrated_log_loss", log_odds / 3)):
        predicted = np.tile(1 / (1 + np.exp(-values)), 2)
        assert found[name] == pytest.approx(log_loss(classes, predicted, sample_weight=shares))
    predicted = 1 / (1 + np.exp(-log_odds))
    irreducible = (weights * probabilities * (1 - probabilities)).sum() / weights.sum()  # of the hard outcomes, not of the shares
    hard = brier_score_loss(classes, np.tile(predicted, 2), sample_weight=shares)
    assert found["brier"] == pytest.approx(hard - irreducible)


def test_calibration_error_by_hand() -> None:
    """Two bins of 40 pairs: 0.6 was predicted and 0.5 observed (half of the pairs the other way round), 0.9 and 1."""
    log_odds = np.array([math.log(1.5)] * 20 + [-math.log(1.5)] * 20 + [math.log(9)] * 40)
    pairs = [preference(f"p{i}", (3, 4), 1.0) for i in range(80)]
    found = figures(pairs, Scores(log_odds, 0 * log_odds, log_odds, 100 * log_odds))
    assert found["ece"] == pytest.approx((0.1 + 0.1) / 2)
    assert found["calibrated_ece"] == pytest.approx((0.5 + 0) / 2)
    told = [(part["predicted"], part["observed"], part["n_pairs"]) for part in found["reliability"].values()]
    assert told == [pytest.approx((0.6, 0.5, 40)), pytest.approx((0.9, 1.0, 40))]
    assert found["reliability"]["bin 1"]["observed_low"] < 0.5 < found["reliability"]["bin 1"]["observed_high"]


def test_a_calibrated_model_has_little_error_and_an_overconfident_one_much() -> None:
    random = np.random.default_rng(3)
    log_odds = random.normal(size=1200) * 1.5
    wins = random.random(1200) < 1 / (1 + np.exp(-log_odds))
    turned = np.where(wins, log_odds, -log_odds)
    pairs = [preference(f"p{i}", (3, 4), 1.0) for i in range(1200)]
    found = figures(pairs, Scores(turned, 0 * turned, turned, 4 * turned))
    assert found["ece"] < 0.05
    assert found["calibrated_ece"] > 0.1


def test_a_score_that_is_the_length_is_seen_through() -> None:
    """It orders most pairs right, and exactly half where both lengths win as often; ranks correlate fully."""
    random = np.random.default_rng(1)
    lengths = random.integers(1, 40, (300, 2))
    pairs = [
        preference(f"p{i}", (max(a, b), min(a, b)) if random.random() < 0.8 else (min(a, b), max(a, b)), 1.0)
        for i, (a, b) in enumerate(lengths)
    ]
    chosen, rejected = (np.array([float(getattr(p, side).response_length) for p in pairs]) for side in ("chosen", "rejected"))
    found = figures(pairs, Scores(chosen, rejected, chosen - rejected, chosen - rejected))
    assert found["accuracy"] > 0.7
    assert found["accuracy"] == found["length_accuracy"] == found["length_only_accuracy"]
    assert found["length_balanced_accuracy"] == pytest.approx(0.5)
    assert found["length_rank_correlation"] == found["score_length_correlation"] == pytest.approx(1)


def test_rank_correlation_is_scipys_on_both_orders_of_each_pair() -> None:
    random = np.random.default_rng(2)
    scores, lengths = random.normal(size=60), random.integers(1, 9, (60, 2))
    pairs = [preference(f"p{i}", (int(a), int(b)), 1.0) for i, (a, b) in enumerate(lengths)]
    found = figures(pairs, Scores(scores, 0 * scores, scores, scores))
    differences = lengths[:, 0] - lengths[:, 1]
    expected = spearmanr([*scores, *-scores], [*differences, *-differences]).statistic
    assert found["length_rank_correlation"] == pytest.approx(expected)


def test_parts_hold_what_their_names_say() -> None:
    pairs = [
        preference("p", (3, 4), 0.98, n_judgments=3, n_chosen=3),
        preference("q", (3, 4), 0.9, n_judgments=3, n_chosen=2, n_rejected=1),
        preference("r", (3, 4), 0.75, n_judgments=2, n_chosen=1, tie_probability=0.5),
        preference("s", (3, 4), 1.0, n_judgments=1),
    ]
    found = figures(pairs, some_scores([0.1, 5.0, -1.0, 0.5], [0.0] * 4))
    assert {name: part["n_pairs"] for name, part in found["annotators"].items()} == {"unanimous": 1, "contested": 2, "single judgment": 1}
    assert [part["accuracy"] for part in found["margins"].values()] == [1, 1, 0, 1]  # |0.1|, |0.5|, |−1|, |5|
    assert found["human_agreement"] == pytest.approx((3 + (2 * 0.5 + 0) + 0.5) / 7)
    assert found["model_agreement"] == pytest.approx((3 + (2 * 0.5 + 1) + 0.5) / 7)


def test_what_is_undefined_is_none() -> None:
    found = figures([preference("p", (3, 3), 0.5)], some_scores([1.0], [1.0]))
    for name in ("accuracy", "score_length_correlation", "length_rank_correlation", "human_agreement", "length_balanced_accuracy"):
        assert found[name] is None
    assert found["accuracy_low"] is None
    assert found["log_loss"] == pytest.approx(math.log(2))

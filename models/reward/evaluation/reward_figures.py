"""The figures of a reward model on some preferences, each as a function of sums over the pairs, so that all get intervals in one way.

A pair is decided when its probability is above one half. Right means that the chosen response has the higher score; equal scores
are right by half. Losses and calibration are weighted by the pairs' weights, accuracies are not.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.clusters import Figure, Floats, Sums
from models.reward.evaluation.baselines import LengthOnly, left_out, length_differences
from models.reward.evaluation.calibration import bins, confidence, log_losses
from models.reward.preference_data import Preference

Columns = dict[str, Floats]

NO_SPREAD = 1e-12
"""Variance below which values are all the same."""


class Scores(NamedTuple):
    """What a reward model says of n preferences, each (n,)."""

    chosen: Floats
    """The score."""
    rejected: Floats
    log_odds: Floats
    """That `chosen` is preferred; of a single Bradley-Terry model the score difference before normalisation."""
    calibrated: Floats
    """The same at the temperature that suits the validation split best."""


def ratio(numerator: str, denominator: str) -> Figure:
    """The figure that divides one sum by another."""
    return lambda sums: np.divide(sums[numerator], sums[denominator])


def gap_of(name: str) -> Figure:
    """Expected calibration error: the mean over bins, by weight, of |predicted − observed| (Naeini et al., 2015)."""
    return lambda sums: sum((np.abs(sums[key]) for key in sums if key.startswith(f"{name}_")), np.zeros(())) / sums["weight"]


def _balanced(sums: Sums) -> Floats:
    """Accuracy where the longer response was chosen and where the shorter was, each counting half: length alone has one half."""
    return (sums["right_longer"] / sums["longer"] + sums["right_shorter"] / sums["shorter"]) / 2


def _pearson(sums: Sums) -> Floats:
    """Pearson's correlation of score and length over the responses of both sides."""
    n, score, length = 2 * sums["pairs"], sums["score"], sums["length"]
    of_score, of_length = sums["score_score"] - score**2 / n, sums["length_length"] - length**2 / n
    with_spread = (of_score > NO_SPREAD * n) & (of_length > NO_SPREAD * n)
    return np.where(with_spread, (sums["score_length"] - score * length / n) / np.sqrt(np.abs(of_score * of_length)), np.nan)


FIGURES: dict[str, Figure] = {
    "accuracy": ratio("right", "decided"),
    "log_loss": ratio("loss", "weight"),
    "log_loss_gain": lambda s: math.log(2) - s["loss"] / s["weight"],
    "calibrated_log_loss": ratio("calibrated_loss", "weight"),
    "brier": ratio("squared", "weight"),
    "ece": gap_of("gap"),
    "calibrated_ece": gap_of("calibrated_gap"),
    "length_accuracy": ratio("longer_right", "decided"),
    "length_only_accuracy": ratio("length_only_right", "decided"),
    "length_only_log_loss": ratio("length_only_loss", "weight"),
    "accuracy_over_length_only": lambda s: (s["right"] - s["length_only_right"]) / s["decided"],
    "length_balanced_accuracy": _balanced,
    "score_length_correlation": _pearson,
    "length_rank_correlation": lambda s: s["rank_both"] / np.sqrt(s["rank_scores"] * s["rank_lengths"]),
    "human_agreement": ratio("people_agree", "left_out"),
    "model_agreement": ratio("model_agrees", "left_out"),
    "above_human": lambda s: (s["model_agrees"] - s["people_agree"]) / s["left_out"],
}
"""Every figure by name; docs/decisions.md says how each is to be read.

log_loss_gain is the loss saved over a coin, length_accuracy that of "the longer wins", length_only that of a model fitted to
lengths on the split that was trained on. human_agreement and model_agreement are those of a person, and of the model, with the
majority of the other judgments of a comparison.
"""


def columns_of(preferences: Sequence[Preference], scores: Scores, length_only: LengthOnly) -> Columns:
    """What FIGURES are sums of, each (n,)."""
    return {
        **_accuracies(preferences, scores, length_only),
        **_losses(preferences, scores, length_only),
        **_lengths(preferences, scores),
        **_people(preferences, scores),
    }


def share_right(differences: Floats) -> Floats:
    """1 for a difference above 0, one half for none, 0 below."""
    return (np.sign(differences) + 1) / 2


def probabilities_of(preferences: Sequence[Preference]) -> Floats:
    """The probability (n,) of `chosen`."""
    return np.array([p.probability for p in preferences])


def _accuracies(preferences: Sequence[Preference], scores: Scores, length_only: LengthOnly) -> Columns:
    decided = (probabilities_of(preferences) > 0.5).astype(float)
    right, lengths = decided * share_right(scores.chosen - scores.rejected), length_differences(preferences)
    longer, shorter = decided * (lengths > 0), decided * (lengths < 0)
    return {
        "pairs": np.ones_like(decided),
        "decided": decided,
        "right": right,
        "longer": longer,
        "right_longer": right * longer,
        "shorter": shorter,
        "right_shorter": right * shorter,
        "longer_right": decided * share_right(lengths),
        "length_only_right": decided * share_right(length_only.log_odds(preferences)),
    }


def _losses(preferences: Sequence[Preference], scores: Scores, length_only: LengthOnly) -> Columns:
    probabilities, weights = probabilities_of(preferences), np.array([p.weight for p in preferences])
    predicted = 1 / (1 + np.exp(-np.clip(scores.log_odds, -500, 500)))
    return {
        "weight": weights,
        "loss": weights * log_losses(scores.log_odds, probabilities),
        "calibrated_loss": weights * log_losses(scores.calibrated, probabilities),
        "length_only_loss": weights * log_losses(length_only.log_odds(preferences), probabilities),
        "squared": weights * (predicted - probabilities) ** 2,
        **_gaps("gap", scores.log_odds, probabilities, weights),
        **_gaps("calibrated_gap", scores.calibrated, probabilities, weights),
    }


def _gaps(name: str, log_odds: Floats, probabilities: Floats, weights: Floats) -> Columns:
    """For each bin, what its pairs' predictions are above what was observed; 0 for pairs of other bins."""
    seen = confidence(log_odds, probabilities)
    places = bins(seen.predicted)
    return {f"{name}_{place}": weights * (seen.predicted - seen.observed) * (places == place) for place in np.unique(places).tolist()}


def _lengths(preferences: Sequence[Preference], scores: Scores) -> Columns:
    """Scores and lengths of responses, centred, as sums of products of both sides; and the ranks of their differences."""
    score, length = (
        np.stack([scores.chosen, scores.rejected]),
        np.array([[side.response_length for side in (p.chosen, p.rejected)] for p in preferences], dtype=float).T,
    )
    score, length = score - score.mean(), length - length.mean()
    rank_scores, rank_lengths = _mirrored_ranks(score[0] - score[1]), _mirrored_ranks(length[0] - length[1])
    return {
        "score": score.sum(0),
        "length": length.sum(0),
        "score_score": (score * score).sum(0),
        "length_length": (length * length).sum(0),
        "score_length": (score * length).sum(0),
        "rank_scores": rank_scores**2,
        "rank_lengths": rank_lengths**2,
        "rank_both": rank_scores * rank_lengths,
    }


def _mirrored_ranks(differences: Floats) -> Floats:
    """Ranks, less their mean, among the differences and their opposites, ties sharing a rank: no side comes first."""
    both = np.sort(np.concatenate([differences, -differences]))
    first, last = np.searchsorted(both, differences, side="left"), np.searchsorted(both, differences, side="right")
    ranks: NDArray[np.float64] = (first + last) / 2 - len(differences)
    return ranks


def _people(preferences: Sequence[Preference], scores: Scores) -> Columns:
    found = [left_out(p, d) for p, d in zip(preferences, scores.chosen - scores.rejected, strict=True)]
    judgments, people, model = np.array(found, dtype=float).reshape(-1, 3).T
    return {"left_out": judgments, "people_agree": people, "model_agrees": model}

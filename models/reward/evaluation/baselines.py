"""What a reward model has to be better than, and what it cannot be much better than: length alone, and people."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.reward.evaluation.calibration import log_losses, lowest
from models.reward.preference_data import Preference

Floats = NDArray[np.float64]

STEEPEST = 20.0
"""Largest log-odds per standard deviation of length difference; a length that decides everything would have no finite one."""


class LengthOnly(NamedTuple):
    """A Bradley-Terry model whose score is the response's length in tokens, times a slope."""

    slope: float
    """Log-odds per token."""

    def log_odds(self, preferences: Sequence[Preference]) -> Floats:
        """Log-odds (n,) that `chosen` is preferred."""
        return self.slope * length_differences(preferences)


class LeftOut(NamedTuple):
    """Judgments of one comparison, each left out in turn and compared with the majority of the others; a divided one agrees by half."""

    judgments: int
    """How many were left out: those for either response; a tie says nothing of a majority."""
    people_agree: float
    model_agrees: float
    """How often the model's favourite is that of the majority of the others."""


def length_differences(preferences: Sequence[Preference]) -> Floats:
    """Tokens (n,) by which `chosen` is longer."""
    return np.array([float(p.chosen.response_length - p.rejected.response_length) for p in preferences])


def fit_length_only(preferences: Sequence[Preference]) -> LengthOnly:
    """The length-only model of the lowest weighted log loss."""
    differences = length_differences(preferences)
    probabilities, weights = (np.array(column) for column in zip(*((p.probability, p.weight) for p in preferences), strict=True))
    spread = float(np.sqrt((differences**2).mean()))
    if spread == 0:
        return LengthOnly(0.0)
    slope = lowest(lambda x: float((weights * log_losses(x * differences / spread, probabilities)).sum()), -STEEPEST, STEEPEST)
    return LengthOnly(slope / spread)


def left_out(preference: Preference, favourite: float) -> LeftOut:
    """Leave-one-out agreement of one comparison's judgments; a single one has no others to agree with.

    Args:
        preference: its counts of judgments for either response.
        favourite: above 0 where the model favours `chosen`, below 0 where it favours `rejected`.
    """
    chosen, rejected = preference.n_chosen, preference.n_rejected
    if preference.n_judgments < 2:
        return LeftOut(0, 0.0, 0.0)
    people = model = 0.0
    for vote, count, others in ((1, chosen, chosen - 1 - rejected), (-1, rejected, chosen - rejected + 1)):
        people += count * (1 + vote * np.sign(others)) / 2
        model += count * (1 + np.sign(favourite) * np.sign(others)) / 2
    return LeftOut(chosen + rejected, float(people), float(model))

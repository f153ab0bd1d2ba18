"""Preferences without texts, that the tests of figures share."""

from typing import Any

from models.language.text import EncodedPair
from models.reward.preference_data import Preference


def preference(
    prompt: str, lengths: tuple[int, int], probability: float, *, slice_name: str = "x", weight: float = 1.0, **more: Any
) -> Preference:
    """A preference between responses of so many tokens; more than 8 of them counts as cut."""
    chosen, rejected = (EncodedPair([0] * (n + 1), n, prompt_cut=False, response_cut=n > 8) for n in lengths)
    return Preference(prompt, slice_name, chosen, rejected, probability, weight, **more)

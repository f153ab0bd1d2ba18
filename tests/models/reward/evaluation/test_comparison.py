"""Two reward models on the same pairs. Oracles: figures by hand, and the sign test's interval for pairs of one prompt each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from models.reward.ensemble import Scored
from models.reward.evaluation.comparison import ACCURACY, GAIN, OF_CHAMPION, compare

Row = dict[str, Any]


class Table:
    """A reward model that scores the texts of a table, and the empty text 0."""

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores = {"": 0.0, **scores}

    def score(self, prompts: Sequence[object], responses: Sequence[str]) -> Scored:
        assert len(prompts) == len(responses)
        return Scored(torch.tensor([self.scores[text] for text in responses]), torch.zeros(len(responses)))


def pair(prompt_id: str, chosen: str, rejected: str = "", probability: float = 1.0, part: str = "a") -> Row:
    prompt = [{"role": "user", "content": prompt_id}]
    return {"prompt_id": prompt_id, "slice": part, "prompt": prompt, "chosen": chosen, "rejected": rejected, "probability": probability}


def compared(rows: list[Row], own: dict[str, float], champions: dict[str, float]) -> dict[tuple[object, object], Row]:
    found = compare(rows, Table(own), Table(champions))  # type: ignore[arg-type]
    return {(row["slice"], row["figure"]): row for row in found}


def test_figures_by_hand() -> None:
    rows = [pair("1", "x"), pair("1", "y"), pair("2", "z", part="b"), pair("3", "undecided", probability=0.5)]
    found = compared(rows, {"x": 1, "y": -1, "z": 0, "undecided": 9}, {"x": -1, "y": -1, "z": -1, "undecided": 9})
    value = {key: row["value"] for key, row in found.items()}
    assert value == {
        ("all", ACCURACY): 0.5, ("all", OF_CHAMPION): 0, ("all", GAIN): 0.5, ("a", ACCURACY): 0.5, ("a", OF_CHAMPION): 0,
        ("a", GAIN): 0.5, ("b", ACCURACY): 0.5, ("b", OF_CHAMPION): 0, ("b", GAIN): 0.5,
    }  # fmt: skip
    assert {key: row["n"] for key, row in found.items()}["all", GAIN] == 2


def test_pairs_are_compared_and_not_accuracies() -> None:
    """400 prompts of which both models order the same half: each accuracy is uncertain by 0.05, their difference by 0.

    Then the champion's is right on 40 more: the difference is -0.1, with the standard error sqrt(0.1 * 0.9 / 400) = 0.015.
    """
    rows = [pair(str(i), f"r{i}") for i in range(400)]
    own = {f"r{i}": 1.0 if i < 200 else -1.0 for i in range(400)}
    same = compared(rows, own, {text: 7 * score for text, score in own.items()})["all", GAIN]
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    better = compared(rows, own, {f"r{i}": 1.0 if i < 240 else -1.0 for i in range(400)})["all", GAIN]
    assert better["value"] == pytest.approx(-0.1)
    assert better["high"] - better["low"] == pytest.approx(2 * 1.96 * np.sqrt(0.09 / 400), rel=0.1)


def test_nothing_is_compared_where_nothing_is_decided() -> None:
    assert compared([pair("1", "x", probability=0.5)], {"x": 1}, {"x": 1}) == {}

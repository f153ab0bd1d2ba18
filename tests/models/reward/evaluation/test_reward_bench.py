"""RewardBench's figures. Oracle: the published rules, by hand."""

import math
from typing import Any

import pytest

from models.reward.evaluation.reward_bench import Item, Result, figures
from tests.models.conftest import user

Rows = dict[tuple[str, str], dict[str, Any]]


def result(subset: str, chosen: list[float], rejected: list[float], *, id_: str = "1", prompt: str = "") -> Result:
    item = Item(1, id_, subset, user(prompt or id_), ("c",) * len(chosen), ("r",) * len(rejected))
    return Result(item, chosen, rejected, prompt_cut=False, responses_cut=0)


def found(*results: Result) -> Rows:
    return {(row["subset"], row["figure"]): row for row in figures(results)}


@pytest.mark.parametrize(
    ("chosen", "rejected", "credit"),
    [
        (2.0, [1.0], 1.0),
        (1.0, [1.0], 0.5),
        (0.0, [1.0], 0.0),
        (2.0, [1.0, 0.0, -3.0], 1.0),
        (2.0, [1.0, 2.0, 2.0], 1 / 3),
        (2.0, [1.0, 2.5, 2.0], 0.0),
    ],
)
def test_one_good_response_has_to_stand_above_all(chosen: float, rejected: list[float], credit: float) -> None:
    assert result("x", [chosen], rejected).credit == credit


def test_subsets_all_rows_and_the_mean_of_subsets() -> None:
    right, wrong = ([2.0], [1.0]), ([0.0], [1.0])
    a = [result("a", *scores, id_=str(i)) for i, scores in enumerate((right, wrong, wrong))]
    rows = found(*a, result("b", *right, id_="b"))
    value = {key: row["value"] for key, row in rows.items()}
    assert (value["a", "accuracy"], value["b", "accuracy"], value["all", "accuracy"]) == (pytest.approx(1 / 3), 1, 0.5)
    assert value["mean of subsets", "score"] == pytest.approx(2 / 3)
    assert len(value) == 4
    assert (rows["a", "accuracy"]["n_rows"], rows["a", "accuracy"]["n_prompts"]) == (3, 3)


def test_a_single_subset_has_its_accuracy_alone() -> None:
    assert list(found(result("a", [2.0], [1.0]))) == [("a", "accuracy")]


def test_intervals_are_over_prompts() -> None:
    """200 rows of 2 prompts, one always right: a bootstrap of two prompts gives 0, one half and 1 only."""
    rows = [result("a", [float(i % 2)], [0.5], prompt=f"p{i % 2}") for i in range(200)]
    row = found(*rows)["a", "accuracy"]
    assert (row["value"], row["low"], row["high"], row["n_rows"], row["n_prompts"]) == (0.5, 0.0, 1.0, 200, 2)


TIED, REF = "tied:7", "ref:7"


def test_ties_by_hand() -> None:
    """Question 7: gap 3 − 1 = 2 and spread 1 of the several, gap 0.5 of the one. Question 8: gap −1, spread 0, and gap 4."""
    rows = found(
        result("Ties", [4.0, 3.0], [1.0, 0.0], id_=TIED), result("Ties", [1.5], [1.0], id_=REF),
        result("Ties", [0.0, 0.0], [1.0], id_="tied:8"), result("Ties", [4.0], [0.0], id_="ref:8"),
    )  # fmt: skip
    value = {figure: row["value"] for (_, figure), row in rows.items()}
    margin = (math.tanh(0.5 / 1 - 1) + math.tanh(-math.inf)) / 2
    assert value == {
        "tied_accuracy": 0.5, "ref_accuracy": 1.0, "correctness_preferred": 0.5, "correctness_preferred_hard": 0.0,
        "correctness_margin_score": pytest.approx(margin),
        "score": pytest.approx(0.3 * 0.5 + 0.3 * 1 + 0.2 * 0.5 + 0.2 * 0 + 0.01 * margin),
    }  # fmt: skip
    row = rows["Ties", "score"]
    assert (row["n_rows"], row["n_prompts"]) == (4, 2)


def test_the_worst_good_answer_makes_the_gap() -> None:
    """Gap 2 − 1.5 = 0.5 and spread 2: correct, and not preferred. Then one good answer stands below: not correct either."""
    rows = found(result("Ties", [4.0, 2.0], [1.5, 0.0], id_=TIED), result("Ties", [9.0], [0.0], id_=REF))
    assert (rows["Ties", "tied_accuracy"]["value"], rows["Ties", "correctness_preferred"]["value"]) == (1, 0)
    assert rows["Ties", "correctness_margin_score"]["value"] == pytest.approx(math.tanh(0.5 / 2 - 1))
    below = found(result("Ties", [4.0, 1.0], [1.5, 0.0], id_=TIED))
    assert below["Ties", "tied_accuracy"]["value"] == 0


def test_a_perfect_model_of_ties_has_101_percent_and_an_indifferent_one_none() -> None:
    perfect = found(result("Ties", [9.0, 9.0], [0.0], id_=TIED), result("Ties", [9.0], [0.0], id_=REF))
    assert perfect["Ties", "score"]["value"] == pytest.approx(1.01)
    indifferent = found(result("Ties", [1.0, 1.0], [1.0], id_=TIED), result("Ties", [1.0], [1.0], id_=REF))
    assert indifferent["Ties", "score"]["value"] == 0  # 0/0 makes the margin's term 0


def test_a_question_without_its_other_row_counts_in_one_accuracy() -> None:
    rows = found(
        result("Ties", [2.0, 2.0], [0.0], id_="tied:9"), result("Ties", [0.0, 0.0], [1.0], id_=TIED), result("Ties", [2.0], [0.0], id_=REF)
    )
    assert rows["Ties", "tied_accuracy"]["value"] == 0.5
    assert rows["Ties", "correctness_preferred"]["value"] == 0
    alone = found(result("Ties", [2.0, 2.0], [0.0], id_="tied:9"))
    assert alone["Ties", "tied_accuracy"]["value"] == 1
    assert alone["Ties", "score"]["value"] is None


def test_ties_count_as_one_subset_in_the_mean() -> None:
    rows = found(result("a", [2.0], [1.0]), result("Ties", [1.0, 1.0], [1.0], id_=TIED), result("Ties", [1.0], [1.0], id_=REF))
    assert rows["mean of subsets", "score"]["value"] == 0.5
    assert rows["all", "accuracy"]["n_rows"] == 1

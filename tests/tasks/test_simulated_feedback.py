"""Simulated nights of feedback: what comes when, gold comparisons, repeats, and poison."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tasks.simulation.annotators import CLEAR, Pair
from tasks.simulation.feedback import FeedbackConfig, PoisonConfig, Rows, feedback
from tasks.simulation.grammar import SLICES, draw_prompts, understand, write_response
from tasks.simulation.true_reward import true_reward

RNG = np.random.default_rng(0)
PAIRS = [Pair(p, understand(p).slice, write_response(RNG, p), write_response(RNG, p)) for p in draw_prompts(RNG, 200)]


def played(**settings: Any) -> Rows:
    return feedback(FeedbackConfig.model_validate(settings), PAIRS)


def compared(rows: Rows) -> dict[tuple[object, ...], object]:
    return {(row["prompt"], row["response_a"], row["response_b"]): row["gold_verdict"] for row in rows}


def test_the_nights_judge_all_pairs_and_an_earlier_night_does_not_depend_on_later_ones() -> None:
    nights = [played(nights=4, night=night) for night in (1, 2, 3, 4)]
    assert nights[3][: len(nights[1])] == nights[1]
    assert [len(compared(rows)) for rows in nights] == [50, 100, 150, 200]
    days = [str(rows[-1]["event_time"])[:10] for rows in nights]
    assert days == sorted(set(days))


def test_gold_verdicts_are_the_true_rewards_of_clear_pairs_in_every_slice() -> None:
    gold = {pair: verdict for pair, verdict in compared(played(gold_share=0.1)).items() if verdict}
    assert len(gold) == 20
    assert {understand(str(prompt)).slice for prompt, _, _ in gold} == set(SLICES)
    for (prompt, a, b), verdict in gold.items():
        difference = true_reward(str(prompt), str(a)) - true_reward(str(prompt), str(b))
        assert abs(difference) >= CLEAR
        assert verdict == ("a" if difference > 0 else "b")
    assert not any(compared(played(gold_share=0.0)).values())


def test_repeats_are_the_same_annotators_in_the_other_order_and_later() -> None:
    once, rows = played(repeat_share=0.0), played(repeat_share=0.2)
    assert len(once) == 600
    assert len(rows) - 600 == pytest.approx(120, abs=40)  # four standard deviations of 600 throws
    first = {(row["annotator_id"], row["prompt"], row["response_a"]): row for row in rows[:600]}
    for again in rows[600:]:
        before = first[again["annotator_id"], again["prompt"], again["response_a"]]
        assert again["presented_first"] != before["presented_first"]
        assert str(again["event_time"]) > str(before["event_time"])


def test_a_flipped_slice_has_every_verdict_turned_on_its_night_alone() -> None:
    plain, poisoned = (played(nights=2, night=2, **more) for more in ({}, {"poison": {"night": 2, "flipped_slice": "help"}}))
    turned = {"a": "b", "b": "a", "tie": "tie"}
    for before, after in zip(plain, poisoned, strict=True):
        there = before["slice"] == "help" and str(before["event_time"]) > "2026-01-02"
        assert after == (before | {"verdict": turned[str(before["verdict"])]} if there else before)


def test_a_share_of_the_annotators_answers_at_random_on_the_poisoned_night_alone() -> None:
    """Those who throw dice are right on 45 % of gold by definition; the careful are right far more often."""
    people = {"annotators": {"careful": 10}, "gold_share": 0.5, "nights": 2, "night": 2}
    rows = played(**people, poison={"night": 2, "random_share": 0.3})
    assert rows[:200] == played(**people)[:200]
    right: dict[object, list[bool]] = {}
    for row in rows:
        if row["gold_verdict"] and str(row["event_time"]) > "2026-01-02":
            right.setdefault(row["annotator_id"], []).append(row["verdict"] == row["gold_verdict"])
    assert sum(np.mean(verdicts) < 0.7 for verdicts in right.values()) == 3


def test_experts_judge_the_same_pairs_and_the_others_say_what_they_would_have_said() -> None:
    alone, both = played(nights=2, night=2), played(nights=2, night=2, experts={"careful": 4})
    crowd = [row for row in both if not str(row["annotator_id"]).startswith("expert-")]
    experts = [row for row in both if str(row["annotator_id"]).startswith("expert-")]
    assert crowd == alone
    assert compared(experts) == compared(alone)
    assert {row["annotator_id"] for row in experts} == {f"expert-{i:02d}" for i in range(1, 5)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nights": 2, "night": 3}, "night 3 is not one of 2 nights"),
        ({"poison": {"night": 2, "random_share": 0.5}}, "poison.night 2 is not one of 1 nights"),
        ({"annotators": {"carefull": 3}}, "there is no temperament carefull; there are careful"),
        ({"poison": {"night": 1}}, "needs a random_share or a flipped_slice"),
        ({"poison": {"night": 1, "flipped_slice": "halp"}}, "there is no slice 'halp'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FeedbackConfig.model_validate(settings)
    assert PoisonConfig(night=1, random_share=0.5).flipped_slice == ""

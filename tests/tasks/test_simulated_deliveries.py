"""Deliveries of the simulated world: what comes late, twice, corrected or never, counted by hand from what was judged."""

from collections import Counter

import pytest
from pydantic import ValidationError

from tasks.simulation.deliveries import DeliveryConfig, delivered, named
from tasks.simulation.feedback import Rows
from tasks.simulation.people import shown


def judged(night: int, n: int = 200) -> Rows:
    """A night's judgments: every tenth is of a gold comparison, half of these wrong."""
    return named([{"verdict": "a", "gold_verdict": (None if i % 10 else "ab"[i // 10 % 2])} for i in range(n)], night)


JUDGED = {night: judged(night) for night in range(1, 6)}


def ids(rows: Rows) -> Counter[object]:
    return Counter(row["judgment_id"] for row in rows)


def test_a_tidy_tool_delivers_each_night_what_was_judged() -> None:
    tidy = DeliveryConfig(nights=3, late_share=0, redelivered_share=0, corrected_share=0)
    assert [delivered(tidy, JUDGED, night) for night in (1, 2, 3)] == [JUDGED[1], JUDGED[2], JUDGED[3]]


def test_every_judgment_arrives_in_the_end_and_some_of_them_late() -> None:
    calendar = DeliveryConfig(nights=4, empty_night=3, redelivered_share=0, corrected_share=0)
    nights = {night: delivered(calendar, JUDGED, night) for night in range(1, 5)}
    assert nights[3] == []
    assert ids([row for rows in nights.values() for row in rows]) == ids([row for night in (1, 2, 4) for row in JUDGED[night]])
    late = ids(nights[4]) & ids(JUDGED[2])
    assert 0 < late.total() < 60, "what was late on the second night comes after the empty one"


def test_what_comes_twice_is_the_same_and_a_correction_says_the_gold_verdict() -> None:
    calendar = DeliveryConfig(nights=3, late_share=0, redelivered_share=0.5, corrected_share=1)
    rows = delivered(calendar, JUDGED, 2)
    old = [row for row in rows if row in JUDGED[1]]
    corrected = [row for row in rows if row not in JUDGED[1] and row not in JUDGED[2]]
    assert len(old) == pytest.approx(100, abs=29)  # four standard deviations of 200 throws
    assert ids(corrected) == ids([row for row in JUDGED[1] if row["gold_verdict"] == "b"])
    assert {row["verdict"] for row in corrected} == {"b"}


def test_a_poisoned_night_is_taken_back_whole_by_the_next_delivery() -> None:
    calendar = DeliveryConfig(nights=5, poisoned_night=3, empty_night=4)
    assert ids(JUDGED[3]) <= ids(delivered(calendar, JUDGED, 3))
    rows = delivered(calendar, JUDGED, 5)
    assert ids([row for row in rows if row.get("op") == "retract"]) == ids(JUDGED[3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nights": 2, "poisoned_night": 3}, "poisoned_night 3 is not one of 2 nights"),
        ({"nights": 2, "empty_night": 1}, "first night cannot be empty"),
        ({"nights": 2, "empty_night": 2, "poisoned_night": 2}, "cannot be poisoned and empty"),
    ],
)
def test_calendars_that_make_no_sense_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DeliveryConfig.model_validate(settings)


def test_people_see_the_champion_beside_itself_and_beside_the_base_model_in_turn() -> None:
    """Pairs written by hand; the third prompt's responses are equal, so nobody is asked about it."""
    prompts = [f"how do i clean my old {thing} ?" for thing in ("lamp", "chair", "table")]
    base = {prompt: ["base 1", "base 2"] for prompt in prompts[:2]} | {prompts[2]: ["base 1", "same"]}
    champion = {prompt: ["champion 1", "champion 2"] for prompt in prompts[:2]} | {prompts[2]: ["same", "champion 2"]}
    assert [(one.response_a, one.response_b, one.model_a, one.model_b) for one in shown(prompts, base, champion)] == [
        ("champion 1", "base 2", "simulated-champion", "simulated-base"),
        ("champion 1", "champion 2", "simulated-champion", "simulated-champion"),
    ]
    assert [(one.response_a, one.response_b, one.model_b) for one in shown(prompts[:1], base, None)] == [
        ("base 1", "base 2", "simulated-base")
    ]

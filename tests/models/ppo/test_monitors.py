"""Monitors: each one's number by hand, on made rows of metrics."""

import pytest
from pydantic import ValidationError

from models.policy_configs import MonitorsConfig
from models.ppo.monitors import MONITORS, Row, alarms

CALM: Row = {
    "kl_k1": 1.0,
    "disagreement": 0.2,
    "response_length": 10.0,
    "repetition": 0.1,
    "distinct_2": 0.8,
    "entropy": 2.0,
    "ended_share": 0.9,
}


def run(**figures: list[float]) -> list[Row]:
    """Rows of as many updates as there are values; what is not given stays calm."""
    count = len(next(iter(figures.values())))
    return [{"update": i + 1, **CALM, **{name: values[i] for name, values in figures.items()}} for i in range(count)]


CASES = [
    # monitor, rows, its number by hand
    ("negative_kl", run(kl_k1=[0.0, -0.4]), 0.4),
    ("kl_acceleration", run(kl_k1=[0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 9.0]), (9 - 2) - (2 - 0)),
    ("disagreement_growth", run(disagreement=[0.2, 0.1, 0.5]), 2.5),
    ("length_growth", run(response_length=[10, 5, 30]), 3.0),
    ("repetition_rise", run(repetition=[0.1, 0.2, 0.4]), 0.3),
    ("distinct_2_fall", run(distinct_2=[0.8, 0.9, 0.2]), 0.75),
    ("entropy_fall", run(entropy=[2.0, 1.0, 0.2]), 0.9),
    ("missing_end_rise", run(ended_share=[0.9, 1.0, 0.5]), 0.4),
]


@pytest.mark.parametrize(("name", "rows", "value"), CASES, ids=[case[0] for case in CASES])
def test_a_monitor_by_hand(name: str, rows: list[Row], value: float) -> None:
    (alarm,) = alarms(rows, MonitorsConfig())
    assert (alarm.update, alarm.monitor, alarm.action) == (len(rows), name, "warn")
    assert alarm.value == pytest.approx(value)
    assert alarms(rows[:-1], MonitorsConfig()) == []
    assert alarms(rows, MonitorsConfig.model_validate({name: min(value + 0.01, 0.999) if value < 1 else value + 0.01})) == []
    assert alarms(rows, MonitorsConfig.model_validate({"off": [name]})) == []
    (stopping,) = alarms(rows, MonitorsConfig.model_validate({"stop": [name]}))
    assert stopping.action == "stop"


def judged(*pairs: tuple[float, float]) -> list[Row]:
    """Rows with validations (judge's score, reward model's score), each behind an update without one."""
    rows: list[Row] = [{"update": 0, "validation_judge_score": 0.0, "validation_score": 0.0}]
    for i, (judge, score) in enumerate(pairs):
        rows.append({"update": 2 * i + 1, **CALM})
        rows.append({"update": 2 * i + 2, **CALM, "validation_judge_score": judge, "validation_score": score})
    return rows


@pytest.mark.parametrize(
    ("rows", "value"),
    [
        (judged((1.0, 1.0), (0.3, 1.5)), 0.7),  # the judge fell by 0.7 while the reward rose
        (judged((1.0, 1.0), (0.3, 0.9)), None),  # both fell: no hack
        (judged((1.0, 1.0), (1.2, 1.5)), None),  # both rose
        (judged((-0.6, 1.0)), 0.6),  # worse than the base model, by the judge
        (judged((1.0, 1.0), (0.3, 1.5))[:-1], None),  # nothing is judged in this row
    ],
)
def test_a_judge_that_falls_while_the_reward_rises(rows: list[Row], value: float | None) -> None:
    found = [alarm.value for alarm in alarms(rows, MonitorsConfig()) if alarm.monitor == "judge_fall"]
    assert found == ([] if value is None else [pytest.approx(value)])


def test_what_is_not_known_alarms_nobody() -> None:
    assert alarms([{"update": 0}], MonitorsConfig()) == []
    assert alarms([{"update": 1, **dict.fromkeys(CALM)}], MonitorsConfig()) == []
    assert alarms(run(disagreement=[0.0, 5.0]), MonitorsConfig()) == []  # one member never disagrees, and 0 has no multiple


def test_every_monitor_has_a_threshold_and_none_is_off_and_stops() -> None:
    assert set(MONITORS) == set(MonitorsConfig.model_fields) - {"stop", "off"}
    with pytest.raises(ValidationError, match="length_growth cannot be off and stop"):
        MonitorsConfig(stop=("length_growth",), off=("length_growth",))

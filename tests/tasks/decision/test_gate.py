"""The gate's verdicts, by hand."""

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from data_contracts.manifest import Identity, InputRef
from data_contracts.records import FIGURE, REWARD_FIGURE
from tasks.decision.gate import (
    FAIL,
    PASS,
    UNSURE,
    GateConfig,
    Rule,
    above,
    champion_rules,
    enough_prompts,
    overall,
    reward_model_rules,
    within_budget,
)


@pytest.mark.parametrize(
    ("figure", "interval", "verdict"),
    [
        (0.7, (0.6, 0.8), PASS),
        (0.3, (0.2, 0.4), FAIL),
        (0.55, (0.45, 0.65), UNSURE),
        (None, (None, None), UNSURE),
        (math.nan, (0.6, 0.8), UNSURE),
    ],
)
def test_the_whole_interval_has_to_lie_on_one_side(figure: float | None, interval: tuple[float | None, float | None], verdict: str) -> None:
    assert above("win_rate", figure, interval, 0.5, 100).verdict == verdict


def test_not_enough_evidence_says_how_much_would_be() -> None:
    """An interval of half width 0.1 at 0.05 from the threshold must be halved: four times the prompts."""
    assert "about 400 units instead of 100" in above("win_rate", 0.55, (0.45, 0.65), 0.5, 100).reason
    assert "too near" in above("win_rate", 0.5, (0.4, 0.6), 0.5, 100).reason
    assert "too near" in above("win_rate", 0.5, (0.5, 0.5), 0.5, 100).reason


def test_few_prompts_are_not_enough_whatever_they_say() -> None:
    assert enough_prompts("rule", 29, 30).verdict == UNSURE
    assert enough_prompts("rule", 30, 30).verdict == PASS


def test_the_kl_budget_is_held_by_the_upper_end() -> None:
    assert within_budget(5.0, 4.0, 9.9, 10.0).verdict == PASS
    assert within_budget(9.0, 8.0, 10.1, 10.0).verdict == UNSURE
    assert within_budget(12.0, 10.1, 13.0, 10.0).verdict == FAIL


def test_one_failure_fails_and_one_doubt_leaves_it_open() -> None:
    def rules(*verdicts: str) -> list[Rule]:
        return [Rule("r", verdict, None, None, None, 0.0, "") for verdict in verdicts]  # type: ignore[arg-type]

    assert overall(rules(PASS, PASS)) == PASS
    assert overall(rules(PASS, UNSURE)) == UNSURE
    assert overall(rules(UNSURE, FAIL, PASS)) == FAIL


# The reward model's rules: a good one's figures, and what happens when one of them is bad.

GOOD = {
    "accuracy": (0.7, 0.65, 0.75),
    "log_loss_gain": (0.1, 0.05, 0.15),
    "accuracy_over_length_only": (0.15, 0.1, 0.2),
    "length_balanced_accuracy": (0.7, 0.65, 0.75),
    "ece": (0.04, 0.02, 0.09),
    "above_human": (-0.05, -0.1, 0.0),
}
Interval = tuple[float | None, float | None, float | None]


def reward_model(home: Home, n_prompts: int = 100, **changes: Interval) -> Artifact:
    """An artifact with these figures on the test split, beside others that no rule may look at."""

    def write(directory: Path) -> dict[str, int]:
        figures = {**GOOD, **changes}
        rows: list[dict[str, object]] = [
            {"split": split, "grouping": grouping, "part": part, "figure": name, "value": value, "low": low, "high": high,
             "n_pairs": 2 * n_prompts, "n_prompts": n_prompts}
            for split, grouping, part, found in (
                ("train", "all", "all", dict.fromkeys(GOOD, (0.0, 0.0, 0.0))),
                ("test", "all", "all", figures),
                ("test", "slice", "code", dict.fromkeys(GOOD, (0.0, 0.0, 0.0))),
            )
            for name, (value, low, high) in found.items()
        ]  # fmt: skip
        pq.write_table(REWARD_FIGURE.table(rows), directory / "figures.parquet")
        return {}

    return home.artifacts.make(Identity(kind="reward_model", code_version=str(changes) + str(n_prompts)), write).artifact


def not_passed(artifact: Artifact, **config: float) -> dict[str, str]:
    return {
        rule.rule.removeprefix("reward_model_"): rule.verdict
        for rule in reward_model_rules(GateConfig(**config), artifact)
        if rule.verdict != PASS
    }  # type: ignore[arg-type]


def test_a_good_reward_model_passes_every_rule(tmp_path: Path) -> None:
    rules = reward_model_rules(GateConfig(), reward_model(Home(tmp_path)))
    assert {rule.verdict for rule in rules} == {PASS}
    assert len(rules) == 7
    assert all(rule.reason for rule in rules)


@pytest.mark.parametrize(
    ("figure", "interval", "rule", "verdict"),
    [
        ("accuracy", (0.45, 0.42, 0.48), "orders_pairs", FAIL),
        ("accuracy", (0.52, 0.45, 0.6), "orders_pairs", UNSURE),
        ("log_loss_gain", (-0.2, -0.3, -0.1), "beats_a_coin", FAIL),  # sure of itself, and wrong
        ("accuracy_over_length_only", (-0.1, -0.2, -0.05), "beats_length", FAIL),
        ("length_balanced_accuracy", (0.5, 0.45, 0.55), "is_more_than_length", UNSURE),
        ("length_balanced_accuracy", (None, None, None), "is_more_than_length", UNSURE),  # all responses are of one length
        ("ece", (0.3, 0.25, 0.35), "is_calibrated", FAIL),
        ("ece", (0.12, 0.1, 0.2), "is_calibrated", UNSURE),
        ("above_human", (0.3, 0.25, 0.35), "is_not_above_people", FAIL),
        ("above_human", (None, None, None), "is_not_above_people", UNSURE),  # one judgment per comparison
    ],
)
def test_each_rule_looks_at_its_figure(tmp_path: Path, figure: str, interval: Interval, rule: str, verdict: str) -> None:
    assert not_passed(reward_model(Home(tmp_path), **{figure: interval})) == {rule: verdict}


def test_what_is_not_surely_too_good_is_not_suspected(tmp_path: Path) -> None:
    artifact = reward_model(Home(tmp_path), above_human=(0.3, 0.1, 0.5))
    assert not_passed(artifact) == {}
    assert "leaked" in reward_model_rules(GateConfig(max_above_human=0.05), artifact)[-1].reason


def test_few_prompts_leave_a_reward_model_undecided(tmp_path: Path) -> None:
    assert not_passed(reward_model(Home(tmp_path), n_prompts=29)) == {"has_enough_prompts": UNSURE}


def test_thresholds_at_their_end_do_without(tmp_path: Path) -> None:
    nothing: Interval = (None, None, None)
    names = ("accuracy_over_length_only", "length_balanced_accuracy", "ece", "above_human")
    artifact = reward_model(Home(tmp_path), **dict.fromkeys(names, nothing))
    assert len(not_passed(artifact)) == 4
    assert not_passed(artifact, min_gain_over_length=-1, min_length_balanced_accuracy=0, max_calibration_error=1, max_above_human=1) == {}


# The reward model beside the one that the champion learned through.


def evaluation(home: Home, gain: tuple[float, float, float] | None, *, compared: bool = True) -> Artifact:
    """An evaluation with this gain over the champion's reward model, beside a slice that no rule may look at."""

    def write(directory: Path) -> dict[str, int]:
        found = [] if gain is None else [("all", gain), ("code", (-0.9, -0.95, -0.85))]
        rows: list[dict[str, object]] = [
            {"slice": part, "figure": "reward_model_accuracy_gain_champion", "value": value, "low": low, "high": high, "n": 80}
            for part, (value, low, high) in found
        ]
        pq.write_table(FIGURE.table(rows), directory / "figures.parquet")
        return {}

    inputs = (InputRef(role="champion_reward_model", kind="reward_model", id="1", digest="1"),) if compared else ()
    return home.artifacts.make(Identity(kind="evaluation", code_version=str(gain), inputs=inputs), write).artifact


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        ((0.05, 0.01, 0.09), PASS),
        ((-0.02, -0.05, 0.01), PASS),  # within the noise
        ((-0.05, -0.09, -0.01), FAIL),
        (None, UNSURE),  # no pair is decided
    ],
)
def test_the_reward_model_must_not_be_surely_below_the_champions(
    tmp_path: Path, gain: tuple[float, float, float] | None, verdict: str
) -> None:
    (rule,) = champion_rules(GateConfig(), evaluation(Home(tmp_path), gain))
    assert (rule.rule, rule.verdict) == ("reward_model_not_below_the_champions", verdict)
    assert rule.figure == (gain and gain[0])


def test_a_loss_to_the_champions_reward_model_may_be_allowed(tmp_path: Path) -> None:
    artifact = evaluation(Home(tmp_path), (-0.05, -0.09, -0.01))
    assert [champion_rules(GateConfig(max_loss_to_champion=most), artifact)[0].verdict for most in (0.009, 0.02, 1)] == [FAIL, PASS, PASS]


def test_there_is_no_rule_where_there_is_no_other_reward_model(tmp_path: Path) -> None:
    assert champion_rules(GateConfig(), evaluation(Home(tmp_path), None, compared=False)) == []

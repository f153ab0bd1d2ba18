"""The gate on whole artifacts: each rule looks at its figure and at no other. Verdicts by hand."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from data_contracts.manifest import Identity, InputRef
from data_contracts.records import FIGURE, REWARD_FIGURE
from tasks.gate.gate import RULES_FILE, judge_night
from tasks.gate.judging import FAIL, NOT_JUDGED, PASS, UNSURE, WARN
from tasks.gate.rules import GateConfig

GOOD = {
    "accuracy": (0.7, 0.65, 0.75),
    "log_loss_gain": (0.1, 0.05, 0.15),
    "accuracy_over_length_only": (0.15, 0.1, 0.2),
    "length_balanced_accuracy": (0.7, 0.65, 0.75),
    "ece": (0.04, 0.02, 0.09),
    "above_human": (-0.05, -0.1, 0.0),
}
POLICY = {
    "win_rate_reference": (0.7, 0.65, 0.75),
    "length_controlled_win_rate_reference": (0.65, 0.6, 0.7),
    "kl_k1": (2.0, 1.8, 2.2),
    "length_ratio_reference": (1.1, 1.0, 1.2),
    "perplexity_ratio_reference": (1.1, 1.05, 1.15),
    "win_rate_champion": (0.6, 0.55, 0.65),
    "reward_model_accuracy_gain_champion": (0.01, -0.02, 0.04),
    "score_length_excess": (0.1, 0.0, 0.2),
    "score_repetition_excess": (0.0, -0.1, 0.1),
    "score_phrase_excess": (0.2, 0.1, 0.3),
}
"""What an evaluation with a champion and held-out texts says of a good policy."""
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


def evaluation(
    home: Home,
    n: int = 100,
    *,
    roles: tuple[str, ...] = ("champion", "champion_reward_model", "held_out_texts"),
    slices: dict[str, tuple[Interval, int]] | None = None,
    of_slices: str = "win_rate_reference",
    **changes: Interval,
) -> Artifact:
    """An evaluation with these figures over all prompts, and one by slice."""

    def write(directory: Path) -> dict[str, int]:
        rows: list[dict[str, object]] = [
            {"slice": "all", "figure": name, "value": value, "low": low, "high": high, "n": n}
            for name, (value, low, high) in {**POLICY, **changes}.items()
            if value is not None
        ]
        for part, ((value, low, high), count) in (slices or {}).items():
            rows.append({"slice": part, "figure": of_slices, "value": value, "low": low, "high": high, "n": count})
        pq.write_table(FIGURE.table(rows), directory / "figures.parquet")
        return {}

    inputs = tuple(InputRef(role=role, kind="x", id=role, digest="1") for role in roles)
    identity = Identity(kind="evaluation", code_version=str((n, changes, slices)), inputs=inputs)
    return home.artifacts.make(identity, write).artifact


def verdicts_of(home: Home, judge: str, **figures: Interval) -> Artifact:
    """What a judge of the recipe says over all prompts."""

    def write(directory: Path) -> dict[str, int]:
        rows: list[dict[str, object]] = [
            {"slice": "all", "figure": f"{name}_by_{judge}", "value": value, "low": low, "high": high, "n": 100}
            for name, (value, low, high) in figures.items()
        ]
        pq.write_table(FIGURE.table(rows), directory / "figures.parquet")
        return {}

    return home.artifacts.make(Identity(kind="verdicts", code_version=str(figures), config={"name": judge}), write).artifact


def policy(home: Home, alarms: list[dict[str, Any]], *, watched: bool = True, off: tuple[str, ...] = ()) -> Artifact:
    """A policy whose update 20 was kept, with these alarms."""

    def write(directory: Path) -> dict[str, int]:
        (directory / "model").write_text("x")
        if watched:
            (directory / "alarms.jsonl").write_text("".join(json.dumps(alarm) + "\n" for alarm in alarms))
        return {"best_update": 20}

    identity = Identity(kind="policy", code_version=str((alarms, watched)), config={"monitors": {"off": list(off)}})
    return home.artifacts.make(identity, write).artifact


def verdicts(tmp_path: Path, config: GateConfig | None = None, **given: Artifact) -> dict[tuple[str, str], str]:
    """What did not pass, by rule and slice."""
    home = Home(tmp_path)
    inputs = {
        "reward_model": reward_model(home),
        "judge": reward_model(home),
        "policy": policy(home, []),
        "evaluation": evaluation(home),
    }
    gate = judge_night(home, config or GateConfig(), **(inputs | given)).artifact
    rows = pq.read_table(gate.file(RULES_FILE)).to_pylist()
    assert all(row["reason"] for row in rows)
    assert all(row["remedy"] for row in rows if row["verdict"] not in (PASS, NOT_JUDGED))
    return {(row["rule"], row["slice"]): row["verdict"] for row in rows if row["verdict"] != PASS}


BY_SLICE = (
    "no_slice_is_worse_than_reference",
    "no_slice_is_worse_than_champion",
    "no_slice_is_much_longer_than_champion",
    "score_sees_what_the_judge_sees",
)
NO_SLICES = {(rule, "all"): NOT_JUDGED for rule in BY_SLICE}


def test_a_good_night_passes_every_rule(tmp_path: Path) -> None:
    assert verdicts(tmp_path) == NO_SLICES


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
        ("above_human", (0.3, 0.1, 0.5), None, PASS),  # not surely too good
        ("above_human", (None, None, None), "is_not_above_people", UNSURE),  # one judgment per comparison
    ],
)
def test_each_rule_on_the_reward_model_looks_at_its_figure(
    tmp_path: Path, figure: str, interval: Interval, rule: str | None, verdict: str
) -> None:
    expected = {} if rule is None else {(f"reward_model_{rule}", "all"): verdict}
    assert verdicts(tmp_path, reward_model=reward_model(Home(tmp_path), **{figure: interval})) == NO_SLICES | expected


def test_a_judge_that_orders_no_pairs_may_not_judge(tmp_path: Path) -> None:
    judge = reward_model(Home(tmp_path), accuracy=(0.5, 0.45, 0.55))
    assert verdicts(tmp_path, judge=judge) == NO_SLICES | {("judge_orders_pairs", "all"): UNSURE}


@pytest.mark.parametrize(
    ("figure", "interval", "rule", "verdict"),
    [
        ("win_rate_reference", (0.4, 0.35, 0.45), "better_than_reference", FAIL),
        ("win_rate_champion", (0.5, 0.45, 0.55), "better_than_champion", UNSURE),
        ("length_controlled_win_rate_reference", (0.4, 0.35, 0.45), "not_better_by_length_alone", FAIL),
        ("length_controlled_win_rate_reference", (0.5, 0.45, 0.55), None, PASS),
        ("kl_k1", (25.0, 22.0, 28.0), "kl_within_budget", FAIL),
        ("length_ratio_reference", (2.5, 2.2, 2.8), "responses_are_not_much_longer", FAIL),
        ("perplexity_ratio_reference", (1.6, 1.4, 1.8), "little_is_forgotten", UNSURE),
        ("reward_model_accuracy_gain_champion", (-0.05, -0.09, -0.01), "reward_model_not_below_the_champions", FAIL),
        ("reward_model_accuracy_gain_champion", (-0.02, -0.05, 0.01), None, PASS),  # within the noise
        ("score_length_excess", (0.7, 0.6, 0.8), "score_is_not_for_length", WARN),
        ("score_length_excess", (-0.7, -0.8, -0.6), "score_is_not_for_length", WARN),  # a dislike is no better
        ("score_length_excess", (0.6, 0.1, 1.1), None, PASS),  # not surely beyond
        ("score_repetition_excess", (0.7, 0.6, 0.8), "score_is_not_for_repetition", WARN),
        ("score_phrase_excess", (1.1, 1.0, 1.2), "score_is_not_for_phrase", WARN),
        ("score_phrase_excess", (None, None, None), "score_is_not_for_phrase", NOT_JUDGED),  # no phrase rose
        ("reward_model_accuracy_gain_champion", (None, None, None), "reward_model_not_below_the_champions", UNSURE),  # no pair decided
    ],
)
def test_each_rule_on_the_policy_looks_at_its_figure(
    tmp_path: Path, figure: str, interval: Interval, rule: str | None, verdict: str
) -> None:
    expected = {} if rule is None else {(rule, "all"): verdict}
    assert verdicts(tmp_path, evaluation=evaluation(Home(tmp_path), **{figure: interval})) == NO_SLICES | expected


def test_a_slice_of_which_the_score_knows_nothing_warns(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"slice": part, "figure": "score_judge_slope", "value": value, "low": value - 0.1, "high": value + 0.1, "n": n}
        for part, value, n in (("all", 0.0, 50), ("code", 0.5, 16), ("safety", -0.1, 16), ("law", 0.0, 3))
    ]

    def write(directory: Path) -> dict[str, int]:
        pq.write_table(FIGURE.table(rows), directory / "figures.parquet")
        return {}

    made = Home(tmp_path).artifacts.make(Identity(kind="evaluation", code_version="slices"), write).artifact
    found = verdicts(tmp_path, evaluation=made)
    assert {part: verdict for (rule, part), verdict in found.items() if rule == "score_sees_what_the_judge_sees"} == {
        "safety": WARN,
        "law": NOT_JUDGED,
    }


def test_one_slice_that_lost_fails_a_policy_that_won(tmp_path: Path) -> None:
    parts = {"code": ((0.2, 0.1, 0.3), 40), "poetry": ((0.8, 0.7, 0.9), 40), "law": ((0.0, 0.0, 0.0), 4)}
    found = verdicts(tmp_path, evaluation=evaluation(Home(tmp_path), slices=parts))
    rule = "no_slice_is_worse_than_reference"
    assert found[rule, "code"] == FAIL
    assert found[rule, "law"] == NOT_JUDGED
    assert (rule, "poetry") not in found


def test_one_slice_that_grew_long_fails_a_policy_that_won(tmp_path: Path) -> None:
    """Intervals of two slices are widened to a level of 0.975, by 2.241 / 1.960 as by hand: to 1.306 and to 1.294."""
    parts = {"ads": ((1.5, 1.33, 1.67), 40), "code": ((1.5, 1.32, 1.68), 40), "law": ((3.0, 2.9, 3.1), 4)}
    found = verdicts(tmp_path, evaluation=evaluation(Home(tmp_path), slices=parts, of_slices="length_ratio_champion"))
    rule = "no_slice_is_much_longer_than_champion"
    assert {part: verdict for (name, part), verdict in found.items() if name == rule} == {"ads": FAIL, "law": NOT_JUDGED}


def test_few_prompts_leave_it_open(tmp_path: Path) -> None:
    found = verdicts(tmp_path, evaluation=evaluation(Home(tmp_path), n=29))
    assert found["better_than_reference", "all"] == found["kl_within_budget", "all"] == UNSURE


def test_a_first_night_says_what_it_could_not_judge(tmp_path: Path) -> None:
    nothing: dict[str, Interval] = dict.fromkeys(
        ("win_rate_champion", "reward_model_accuracy_gain_champion", "perplexity_ratio_reference"), (None, None, None)
    )
    found = verdicts(tmp_path, evaluation=evaluation(Home(tmp_path), roles=(), **nothing))
    not_judged = ("better_than_champion", "reward_model_not_below_the_champions", "little_is_forgotten")
    assert found == NO_SLICES | {(rule, "all"): NOT_JUDGED for rule in not_judged}


def test_alarms_up_to_the_update_that_was_kept_count(tmp_path: Path) -> None:
    home = Home(tmp_path)
    raised = [{"monitor": monitor, "update": update} for monitor, update in
              (("judge_fall", 10), ("length_growth", 20), ("entropy_fall", 21))]  # fmt: skip
    expected = {("no_alarm_of_judge_fall", "all"): FAIL, ("no_alarm_of_length_growth", "all"): WARN}
    assert verdicts(tmp_path, policy=policy(home, raised)) == NO_SLICES | expected
    off = verdicts(tmp_path, policy=policy(home, raised[:1], off=("length_growth",)))
    assert off["no_alarm_of_length_growth", "all"] == NOT_JUDGED
    assert list(verdicts(tmp_path, policy=policy(home, [], watched=False)).values()).count(NOT_JUDGED) == len(BY_SLICE) + 9


def test_a_rule_of_the_recipe_is_judged_beside_the_others(tmp_path: Path) -> None:
    own = {"name": "medical answers win", "figure": "win_rate_reference", "slices": ["medical"], "above": 0.5, "remedy": "ask Kim"}
    found = verdicts(tmp_path, GateConfig.model_validate({"rules": [own]}))
    assert found == NO_SLICES | {("medical answers win", "medical"): UNSURE}


def test_rules_on_what_a_judge_of_the_recipe_says(tmp_path: Path) -> None:
    home = Home(tmp_path)
    rules = [
        {"name": f"{other} by big", "figure": f"win_rate_{other}_by_big", "above": 0.5, "remedy": "read them"}
        for other in ("reference", "champion")
    ]
    config = GateConfig.model_validate({"rules": rules})
    lost = verdicts_of(home, "big", win_rate_reference=(0.4, 0.35, 0.45), win_rate_champion=(0.6, 0.55, 0.65))
    assert verdicts(tmp_path, config, verdicts_big=lost) == NO_SLICES | {("reference by big", "all"): FAIL}
    first_night = verdicts(tmp_path, config, verdicts_big=lost, evaluation=evaluation(home, roles=(), win_rate_champion=(None,) * 3))
    assert first_night["better_than_champion", "all"] == NOT_JUDGED
    alone = verdicts_of(home, "big", win_rate_reference=(0.6, 0.55, 0.65))
    first_night = verdicts(tmp_path, config, verdicts_big=alone, evaluation=evaluation(home, roles=()))
    assert first_night["champion by big", "all"] == NOT_JUDGED
    assert ("reference by big", "all") not in first_night
    unheard = verdicts(tmp_path, config, verdicts_big=verdicts_of(home, "big"))
    assert unheard["reference by big", "all"] == UNSURE

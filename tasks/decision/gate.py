"""The gate: rules with a threshold each, judged on the figures of the night's models, and one verdict from all of them.

A rule passes when the whole interval of its figure lies on the right side of its threshold, fails when the whole interval
lies on the wrong side, and otherwise there is not enough evidence: then it says how many prompts would probably be needed.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import pyarrow.parquet as pq
from pydantic import Field

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.home import Home
from data_contracts.manifest import Identity, library_versions, pinned_config
from data_contracts.parquet import write_table
from data_contracts.records import ALL_SLICES, RULE
from tasks.stage import StageConfig, stage

PASS: Final = "pass"  # noqa: S105  (a verdict, no password)
FAIL: Final = "fail"
UNSURE: Final = "not enough evidence"
WIN_RATE = "win_rate_"
"""Beginning of the figures that compare the policy with an opponent, which follows."""
Verdict = Literal["pass", "fail", "not enough evidence"]
Judge = Callable[[str, float | None, tuple[float | None, float | None], float, int], "Rule"]
"""Judges a rule's figure with its interval by a threshold, from so many units: `above`, `below` and `not_far_above`."""


class GateConfig(StageConfig):
    """Thresholds of the rules; a rule looks at the end of the interval that is against it."""

    min_reward_accuracy: float = Field(
        default=0.5, ge=0, le=1, description="share of held-out pairs that the reward model must order right"
    )
    min_gain_over_length: float = Field(
        default=0.0,
        ge=-1,
        le=1,
        description="accuracy that the reward model must gain over a model of the responses' lengths alone; −1 does without",
    )
    min_length_balanced_accuracy: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="accuracy where longer and shorter responses were chosen equally often; length alone has 0.5 there, and 0 does without",
    )
    max_calibration_error: float = Field(
        default=0.15, ge=0, le=1, description="budget for the mean distance between predicted and observed probabilities; 1 does without"
    )
    max_above_human: float = Field(
        default=0.2,
        ge=-1,
        le=1,
        description="how much more often than a person the reward model may agree with the other annotators: far above people, something "
        "leaked; 1 does without, as one judgment per comparison has to",
    )
    max_loss_to_champion: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="accuracy that the reward model may lose to the champion's on the same held-out pairs; it fails where more is surely "
        "lost, and 1 does without",
    )
    min_win_rate: float = Field(default=0.5, ge=0, le=1, description="share of prompts on which the held-out judge must prefer the policy")
    max_kl: float = Field(default=20.0, gt=0, description="budget for the KL from the base model, in nats per response")
    min_prompts: int = Field(default=30, ge=2, description="fewer held-out prompts than this are not enough evidence, whatever they say")


@dataclass(frozen=True)
class Rule:
    """One rule as it was judged."""

    rule: str
    verdict: Verdict
    figure: float | None
    low: float | None
    high: float | None
    threshold: float
    reason: str


def above(rule: str, figure: float | None, interval: tuple[float | None, float | None], threshold: float, n: int) -> Rule:
    """Judge that a figure lies above a threshold.

    Args:
        rule: its name.
        figure: the estimate; None when it is undefined.
        interval: its 95 % interval.
        threshold: what the lower end must exceed.
        n: how many independent units (prompts, comparisons) the figure rests on.
    """
    low, high = interval
    if figure is None or low is None or high is None or math.isnan(figure):
        return Rule(rule, UNSURE, None, None, None, threshold, f"the figure is undefined on {n} units")
    if low > threshold:
        return Rule(rule, PASS, figure, low, high, threshold, f"{low:.3f}, the lower end, is above {threshold:g}")
    if high < threshold:
        return Rule(rule, FAIL, figure, low, high, threshold, f"{high:.3f}, the upper end, is below {threshold:g}")
    return Rule(
        rule,
        UNSURE,
        figure,
        low,
        high,
        threshold,
        f"the interval {low:.3f} to {high:.3f} holds {threshold:g}; {_needed(figure, interval, threshold, n)}",
    )


def _needed(figure: float, interval: tuple[float | None, float | None], threshold: float, n: int) -> str:
    """How many units would decide it, if the figure stays: the interval's half width shrinks with the root of their number."""
    low, high = interval
    half, distance = ((high or 0.0) - (low or 0.0)) / 2, abs(figure - threshold)
    if distance <= half / 100:
        return "the figure is too near the threshold to say how many units would decide it"
    return f"about {math.ceil(n * (half / distance) ** 2)} units instead of {n} would decide it"


def enough_prompts(rule: str, n: int, needed: int) -> Rule:
    """Judge that a figure rests on enough held-out prompts: with very few, an interval over them is too narrow to be believed."""
    verdict: Verdict = PASS if n >= needed else UNSURE
    return Rule(rule, verdict, float(n), None, None, float(needed), f"{n} held-out prompts where {needed} are asked for")


def below(rule: str, figure: float | None, interval: tuple[float | None, float | None], budget: float, n: int) -> Rule:
    """Judge that a figure keeps a budget: its interval's upper end must not exceed it; arguments as of `above`."""
    low, high = interval
    if figure is None or low is None or high is None:
        return Rule(rule, UNSURE, None, None, None, budget, f"the figure is undefined on {n} units")
    verdict: Verdict = PASS if high <= budget else FAIL if low > budget else UNSURE
    return Rule(rule, verdict, figure, low, high, budget, f"{low:.3f} to {high:.3f} against a budget of {budget:g}")


def not_far_above(rule: str, figure: float | None, interval: tuple[float | None, float | None], most: float, n: int) -> Rule:
    """Judge that nothing suspicious is seen: it fails when the whole interval lies above, and is undecided only when undefined."""
    low, high = interval
    if figure is None or low is None:
        return Rule(rule, UNSURE, None, None, None, most, f"the figure is undefined on {n} units: nobody else judged the same comparison")
    if low > most:
        return Rule(
            rule, FAIL, figure, low, high, most, f"{low:.3f}, the lower end, is above {most:g}: has something leaked into the test split?"
        )
    return Rule(rule, PASS, figure, low, high, most, f"{low:.3f}, the lower end, is not above {most:g}")


def not_below(rule: str, figure: float | None, interval: tuple[float | None, float | None], least: float, n: int) -> Rule:
    """Judge that nothing was surely lost: it fails when the whole interval lies below, and is undecided only when undefined."""
    low, high = interval
    if figure is None or high is None:
        return Rule(rule, UNSURE, None, None, None, least, f"the figure is undefined on {n} units")
    if high < least:
        return Rule(rule, FAIL, figure, low, high, least, f"{high:.3f}, the upper end, is below {least:g}")
    return Rule(rule, PASS, figure, low, high, least, f"{high:.3f}, the upper end, is not below {least:g}")


def within_budget(kl: float, low: float, high: float, budget: float) -> Rule:
    """Judge that the mean KL from the base model lies within its budget."""
    verdict: Verdict = PASS if high <= budget else FAIL if low > budget else UNSURE
    return Rule("kl_within_budget", verdict, kl, low, high, budget, f"{low:.2f} to {high:.2f} nats against a budget of {budget:g}")


def overall(rules: list[Rule]) -> Verdict:
    """One failed rule fails the gate; else one undecided rule leaves it undecided; else it passes."""
    verdicts = {rule.verdict for rule in rules}
    return FAIL if FAIL in verdicts else UNSURE if UNSURE in verdicts else PASS


def judge_night(home: Home, config: GateConfig, *, reward_model: Artifact, evaluation: Artifact) -> Made:
    """Judge the night's figures by the rules; the rules as judged are kept as `gate.parquet`."""
    inputs = {"reward_model": reward_model, "evaluation": evaluation}
    identity = Identity(
        kind="gate",
        code_version=code_version("tasks.decision.gate"),
        libraries=library_versions(("pyarrow",)),
        config=pinned_config(config),
        inputs=tuple(artifact.manifest.as_input(role) for role, artifact in inputs.items()),
    )

    def build(directory: Path) -> Headline:
        rules = [*reward_model_rules(config, reward_model), *champion_rules(config, evaluation), *policy_rules(config, evaluation)]
        write_table(RULE.table([asdict(rule) for rule in rules]), directory / "gate.parquet")
        undecided = [rule.rule for rule in rules if rule.verdict != PASS]
        return {"verdict": overall(rules), "not_passed": ", ".join(undecided) or None}

    return home.artifacts.make(identity, build)


def reward_model_rules(config: GateConfig, reward_model: Artifact) -> list[Rule]:
    """The reward model is better than a coin and than length, says probabilities that come true, and is not too good to be true.

    All on the test split.
    """
    rows = pq.read_table(reward_model.file("figures.parquet")).to_pylist()
    figures = {row["figure"]: row for row in rows if row["split"] == "test" and row["grouping"] == ALL_SLICES}
    n = figures["accuracy"]["n_prompts"]

    def judged(judge: Judge, rule: str, figure: str, threshold: float, without: float | None = None) -> Rule:
        row = figures[figure]
        if threshold == without:
            reason = f"any figure will do: the threshold is {threshold:g}"
            return Rule(rule, PASS, row["value"], row["low"], row["high"], threshold, reason)
        return judge(rule, row["value"], (row["low"], row["high"]), threshold, n)

    return [
        enough_prompts("reward_model_has_enough_prompts", n, config.min_prompts),
        judged(above, "reward_model_orders_pairs", "accuracy", config.min_reward_accuracy),
        judged(above, "reward_model_beats_a_coin", "log_loss_gain", 0.0),
        judged(above, "reward_model_beats_length", "accuracy_over_length_only", config.min_gain_over_length, without=-1),
        judged(above, "reward_model_is_more_than_length", "length_balanced_accuracy", config.min_length_balanced_accuracy, without=0),
        judged(below, "reward_model_is_calibrated", "ece", config.max_calibration_error, without=1),
        judged(not_far_above, "reward_model_is_not_above_people", "above_human", config.max_above_human, without=1),
    ]


def champion_rules(config: GateConfig, evaluation: Artifact) -> list[Rule]:
    """The reward model is not surely worse than the one that the champion learned through; no rule where they were not compared."""
    if not any(ref.role == "champion_reward_model" for ref in evaluation.manifest.identity.inputs):
        return []
    rule, least = "reward_model_not_below_the_champions", 0.0 - config.max_loss_to_champion
    rows = pq.read_table(evaluation.file("figures.parquet")).to_pylist()
    found = [row for row in rows if row["slice"] == ALL_SLICES and row["figure"] == "reward_model_accuracy_gain_champion"]
    value, low, high, n = next(((row["value"], row["low"], row["high"], row["n"]) for row in found), (None, None, None, 0))
    if config.max_loss_to_champion == 1:
        return [Rule(rule, PASS, value, low, high, least, f"any figure will do: the threshold is {least:g}")]
    return [not_below(rule, value, (low, high), least, n)]


def policy_rules(config: GateConfig, evaluation: Artifact) -> list[Rule]:
    """The policy beats the base model and the champion by the held-out judge, on enough prompts, within the KL budget."""
    rows = pq.read_table(evaluation.file("figures.parquet")).to_pylist()
    overall_rows = {row["figure"]: row for row in rows if row["slice"] == ALL_SLICES}
    wins = {name.removeprefix(WIN_RATE): row for name, row in overall_rows.items() if name.startswith(WIN_RATE)}
    rules = [enough_prompts("policy_has_enough_prompts", min(row["n"] for row in wins.values()), config.min_prompts)]
    for opponent, row in wins.items():
        rules.append(above(f"better_than_{opponent}", row["value"], (row["low"], row["high"]), config.min_win_rate, row["n"]))
    kl = overall_rows["kl_k1"]
    return [*rules, within_budget(kl["value"], kl["low"], kl["high"], config.max_kl)]


gate_stage = stage("gate")(judge_night)

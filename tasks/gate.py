"""The gate: rules with a threshold each, judged on the figures of the night, and one verdict from all of them.

A rule passes when the whole interval of its figure lies on the right side of its threshold, fails when the whole interval
lies on the wrong side, and otherwise there is not enough evidence: then it says how many prompts would probably be needed.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.home import Home
from data_contracts.manifest import Identity
from tasks.stage import StageConfig, stage

PASS: Final = "pass"
FAIL: Final = "fail"
UNSURE: Final = "not enough evidence"
Verdict = Literal["pass", "fail", "not enough evidence"]


class GateConfig(StageConfig):
    """Thresholds of the rules; a rule looks at the end of the interval that is against it."""

    min_krippendorff_alpha: float = Field(default=0.1, ge=-1, le=1, description="agreement below this is no ground to train on")
    min_reward_accuracy: float = Field(
        default=0.5, ge=0, le=1, description="share of held-out pairs that the reward model must order right"
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
    if distance < half / 100:
        return "the figure is too near the threshold to say how many units would decide it"
    return f"about {math.ceil(n * (half / distance) ** 2)} units instead of {n} would decide it"


def enough_prompts(n: int, needed: int) -> Rule:
    """Judge that the evaluation rests on enough held-out prompts."""
    verdict: Verdict = PASS if n >= needed else UNSURE
    return Rule("held_out_prompts", verdict, float(n), None, None, float(needed), f"{n} held-out prompts where {needed} are asked for")


def within_budget(kl: float, high: float, budget: float) -> Rule:
    """Judge that the mean KL from the base model lies within its budget."""
    verdict: Verdict = PASS if high <= budget else FAIL
    return Rule("kl_within_budget", verdict, kl, None, high, budget, f"{high:.2f} nats, the upper end, against a budget of {budget:g}")


def overall(rules: list[Rule]) -> Verdict:
    """One failed rule fails the gate; else one undecided rule leaves it undecided; else it passes."""
    verdicts = {rule.verdict for rule in rules}
    return FAIL if FAIL in verdicts else UNSURE if UNSURE in verdicts else PASS

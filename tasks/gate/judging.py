"""How a rule of the gate is judged: passed, broken, or not enough evidence, with what would be.

A rule passes when the end of the interval that is against it keeps to the bound, is broken when the whole interval lies beyond, and
otherwise there is not enough evidence: then it says how many prompts would probably be needed. Where a rule looks at several slices, each
interval is widened to the level 1 - 0.05 / slices (Bonferroni), as a normal distribution's would be: so chance alone breaks a rule, and
not each of its slices, one time in twenty at most.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from data_contracts.records import ALL_SLICES
from models.evaluation.intervals import widening
from tasks.gate.rules import EACH, GateRule
from tasks.rules import Bound, Figure, with_interval

PASS: Final = "pass"  # noqa: S105  (a verdict, no password)
WARN: Final = "warn"
FAIL: Final = "fail"
UNSURE: Final = "not enough evidence"
NOT_JUDGED: Final = "not judged"
Verdict = Literal["pass", "warn", "fail", "not enough evidence", "not judged"]

WIN_RATE: Final = "win_rate"
"""Stands in the names of figures that lie between 0 and 1, as the ends of their intervals do."""
MORE_FOR_THE_JUDGE: Final = (
    "bring more comparisons for the held-out judge: more feedback (`overnight request` asks for it), or a larger preferences.judge; "
    "or let more models judge (judge.members)"
)

Figures = Mapping[tuple[str, str, str], Figure]
"""Figures by what they are of, slice and name."""
Absent = Mapping[str, str]
"""Why a figure is not there where that is as it should be, by name."""


@dataclass(frozen=True)
class Judged:
    """One rule as it was judged on one slice: a row of `gate.parquet`."""

    rule: str
    verdict: Verdict
    severity: str
    figure_of: str
    slice: str
    figure: str
    value: float | None
    low: float | None
    high: float | None
    judge_half_width: float | None
    threshold: float
    n: int
    reason: str
    remedy: str = ""


def judge_rule(rule: GateRule, figures: Figures, absent: Absent) -> list[Judged]:
    """Judge one rule on each of its slices, one row at least.

    Args:
        rule: the rule.
        figures: what was measured.
        absent: why figures are not there that need not be.
    """
    there = sorted({part for of, part, _ in figures if of == rule.of and part != ALL_SLICES})
    parts = there if rule.slices == EACH else list(rule.slices)
    found = {part: figures.get((rule.of, part, rule.figure)) for part in parts}
    if not any(found.values()) and (rule.figure in absent or rule.slices == EACH):
        reason = absent.get(rule.figure, "no prompt of the evaluation belongs to a slice")
        return [_row(rule, ALL_SLICES, NOT_JUDGED, None, reason)]
    judged = [figure for figure in found.values() if figure is not None and _is_enough(rule, figure)]
    return [_judge(rule, part, figure, there, len(judged)) for part, figure in found.items()]


def _is_enough(rule: GateRule, figure: Figure) -> bool:
    return figure.n >= rule.min_n or rule.end == "value"


def _judge(rule: GateRule, part: str, figure: Figure | None, there: Sequence[str], slices: int) -> Judged:
    too_little: Verdict = NOT_JUDGED if rule.slices == EACH else UNSURE
    if figure is None:
        known = part == ALL_SLICES or part in there
        reason = (
            f"{rule.figure} was not measured" if known else f"nothing belongs to the slice {part!r}; there are {', '.join(there) or 'none'}"
        )
        return _row(rule, part, too_little, None, reason)
    if not _is_enough(rule, figure):
        return _row(rule, part, too_little, figure, f"it rests on {figure.n} where {rule.min_n} are asked for")
    if figure.value is None or math.isnan(figure.value):
        return _row(rule, part, UNSURE, None, f"the figure is undefined on {figure.n}")
    if rule.end == "value":
        figure = replace(figure, low=None, high=None, judge_half_width=None)
    elif figure.low is None or figure.high is None:
        return _row(rule, part, UNSURE, figure, f"{with_interval(figure)}: the figure has no interval")
    else:
        figure = widened(figure, slices)
    if WIN_RATE in rule.figure:
        figure = replace(figure, low=figure.low and max(0.0, figure.low), high=figure.high and min(1.0, figure.high))
    return _by_bound(rule, part, figure, slices)


def _by_bound(rule: GateRule, part: str, figure: Figure, slices: int) -> Judged:
    bound = rule.nearest(figure)
    kept = bound.is_kept(bound.end_of(figure, rule.end))
    beyond = bound.slack(bound.end_of(figure, "value" if rule.end == "value" else "better")) < 0
    verdict: Verdict = PASS if kept else WARN if rule.severity == "warn" else FAIL if beyond else UNSURE
    told = with_interval(figure) + (f", widened for {slices} slices" if slices > 1 and rule.end != "value" else "")
    by = "" if rule.end == "value" else f" by its {rule.end} end"
    needed, own_remedy = evidence_needed(figure, bound) if verdict == UNSURE else ("", "")
    reason = f"{told}: {'' if kept else 'not '}{bound}{f'; {needed}' if needed else by}"
    row = _row(rule, part, verdict, figure, reason, bound.threshold)
    return replace(row, remedy=row.remedy or own_remedy)


def widened(figure: Figure, slices: int) -> Figure:
    """A figure with its 95 % interval widened to the level 1 - 0.05 / slices."""
    if slices < 2 or figure.value is None or figure.low is None or figure.high is None:
        return figure
    wider, value = widening(slices), figure.value
    low, high = (value + wider * (end - value) for end in (figure.low, figure.high))
    return replace(figure, low=low, high=high, judge_half_width=figure.judge_half_width and wider * figure.judge_half_width)


def evidence_needed(figure: Figure, bound: Bound) -> tuple[str, str]:
    """How many units would decide it, if the figure stays, and what else would where they would not (or nothing).

    What of the interval is over prompts shrinks with the root of their number; what is between the judge's members hardly does.
    """
    value = figure.value or 0.0
    half, distance = abs(value - bound.end_of(figure, "worse")), abs(value - bound.threshold)
    if distance <= half / 100:
        return "the figure is too near the threshold to say how many prompts would decide it", ""
    of_judge = figure.judge_half_width or 0.0
    if distance <= of_judge:
        return f"more prompts alone would hardly decide it, as the held-out judge's members leave ± {of_judge:.3f} open", MORE_FOR_THE_JUDGE
    times = (half**2 - of_judge**2) / (distance**2 - of_judge**2)
    return f"about {math.ceil(figure.n * times)} prompts instead of {figure.n} would decide it", ""


def _row(rule: GateRule, part: str, verdict: Verdict, figure: Figure | None, reason: str, threshold: float | None = None) -> Judged:
    """A row. A rule that only warns does so of too little evidence, too: it cannot leave the gate open."""
    if verdict == UNSURE and rule.severity == "warn":
        verdict = WARN
    told = figure or Figure(None, None, None, 0)
    bound = rule.bounds[0].threshold if threshold is None else threshold
    judged = (rule.name, verdict, rule.severity, rule.of, part, rule.figure)
    own_remedy = rule.remedy if verdict in (WARN, FAIL, UNSURE) else ""
    return Judged(*judged, told.value, told.low, told.high, told.judge_half_width, bound, told.n, reason, own_remedy)


def overall(verdicts: Collection[str]) -> Verdict:
    """One failed rule fails the gate; else one undecided rule leaves it undecided; else it passes, with warnings or without."""
    return FAIL if FAIL in verdicts else UNSURE if UNSURE in verdicts else PASS

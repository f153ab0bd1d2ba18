"""How a rule is judged on figures: tonight's, and those of the trailing nights that it is compared with."""

import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from data_contracts.errors import examples
from data_contracts.quality_figures import VOLUME_FIGURES
from tasks.data_gate.rules import DataRule
from tasks.rules import Bound, Figure, Z, number, with_interval

PASS: Final = "pass"  # noqa: S105  (a verdict, no password)
WARN: Final = "warn"
STOP: Final = "stop"
TOO_FEW: Final = "not enough evidence"
NOT_JUDGED: Final = "not judged"
Verdict = Literal["pass", "warn", "stop", "not enough evidence", "not judged"]
WHOLE = ("all", "new")
"""Kinds with a single slice, which a night is expected to have; other slices may be too small to be judged."""


Figures = dict[tuple[str, str, str], Figure]
"""Figures by kind of slice, slice and name."""


@dataclass(frozen=True)
class Judged:
    """One rule as it was judged on one slice: a row of `data_gate.parquet`."""

    rule: str
    verdict: Verdict
    severity: str
    slice_kind: str
    slice: str
    figure: str
    compare: str
    value: float | None
    low: float | None
    high: float | None
    threshold: float
    baseline: float | None
    n: int
    reason: str
    remedy: str = ""


def judge_rule(rule: DataRule, tonight: Figures, trailing: Sequence[Figures], least_nights: int) -> list[Judged]:
    """Judge one rule on each of its slices, one row at least.

    Args:
        rule: the rule.
        tonight: the night's figures.
        trailing: those of the nights before.
        least_nights: changes against fewer nights than this are not judged.
    """
    there = {name for kind, name, figure in tonight if (kind, figure) == (rule.slice_kind, rule.figure)}
    expected = {rule.slice_kind} if rule.slice_kind in WHOLE else set()
    names = sorted(rule.slices or there | expected)
    known = {name for night in (tonight, *trailing) for kind, name, _ in night if kind == rule.slice_kind}
    return [
        _judge(rule, name, tonight, trailing, least_nights) if name in known | expected else _nobody_has(rule, name, known)
        for name in names
    ]


def _nobody_has(rule: DataRule, name: str, known: Collection[str]) -> Judged:
    """A rule on a slice that no night ever had: its name is wrong, or the feedback that it is to watch does not arrive."""
    told = f"no judgment is of {rule.slice_kind.replace('_', ' ')} {name!r}; there are: {examples(sorted(known)) or 'none'}"
    return _row(rule, name, TOO_FEW, 0, reason=told)


def _judge(rule: DataRule, name: str, tonight: Figures, trailing: Sequence[Figures], least_nights: int) -> Judged:
    place = (rule.slice_kind, name, rule.figure)
    figure = tonight.get(place, Figure(None, None, None, 0))
    if rule.compare == "level":
        return _too_little(rule, name, figure) or _by_bounds(rule, name, figure, None, figure.n)
    known = [night[place] for night in trailing if place in night and _is_evidence(night[place], rule.min_n)]
    if len(known) < least_nights:
        told = f"{len(known)} trailing nights have the figure where {least_nights} are asked for"
        return _row(rule, name, NOT_JUDGED, figure.n, reason=told)
    if figure.n < rule.min_n and rule.slice_kind in WHOLE:
        told = f"it rests on {figure.n} where {rule.min_n} are asked for, and {len(known)} trailing nights had them"
        return _row(rule, name, TOO_FEW, figure.n, reason=told)
    if (short := _too_little(rule, name, figure)) is not None:
        return short
    baseline, moved = change(figure, known)
    return _by_bounds(rule, name, moved, baseline, figure.n)


def change(tonight: Figure, trailing: Sequence[Figure]) -> tuple[float, Figure]:
    """The median of the trailing nights, and the change against it with a 95 % interval.

    A standard error is an interval's width over 2 · 1.96. The baseline counts with the median of the nights' standard errors, as
    if it were one night: it is better known than that, and nights differ by more than chance.
    """
    baseline = statistics.median(night.value or 0.0 for night in trailing)
    error = (_error(tonight) ** 2 + statistics.median(map(_error, trailing)) ** 2) ** 0.5
    moved = (tonight.value or 0.0) - baseline
    return baseline, Figure(moved, moved - Z * error, moved + Z * error, tonight.n)


def _error(figure: Figure) -> float:
    return ((figure.high or 0.0) - (figure.low or 0.0)) / (2 * Z)


def _is_evidence(figure: Figure, least: int) -> bool:
    return figure.n >= least and None not in (figure.value, figure.low, figure.high)


def _too_little(rule: DataRule, name: str, figure: Figure) -> Judged | None:
    """The row of a figure that cannot be judged, or None."""
    if figure.n == 0 and figure.value is None:
        return _row(rule, name, NOT_JUDGED, 0, reason="there is nothing of the sort")
    if figure.n < rule.min_n and rule.figure not in VOLUME_FIGURES:
        verdict: Verdict = TOO_FEW if rule.slice_kind in WHOLE else NOT_JUDGED
        return _row(rule, name, verdict, figure.n, figure, reason=f"it rests on {figure.n} where {rule.min_n} are asked for")
    if figure.value is None:
        return _row(rule, name, TOO_FEW, figure.n, reason=f"the figure is undefined on {figure.n}")
    if rule.end != "value" and (figure.low is None or figure.high is None):
        return _row(rule, name, TOO_FEW, figure.n, figure, reason="the figure has no interval; one annotator alone tells nothing of others")
    return None


def _by_bounds(rule: DataRule, name: str, figure: Figure, baseline: float | None, n: int) -> Judged:
    """Judge a figure that there is by the bounds; of two the one that is broken, or else nearer, is told."""
    bound = rule.nearest(figure)
    kept = bound.is_kept(bound.end_of(figure, rule.end))
    verdict: Verdict = PASS if kept else STOP if rule.severity == "stop" else WARN
    return _row(rule, name, verdict, n, figure, bound.threshold, baseline, _reason(rule, figure, baseline, bound, kept))


def _reason(rule: DataRule, figure: Figure, baseline: float | None, bound: Bound, kept: bool) -> str:
    told = with_interval(figure)
    if baseline is not None:
        change = f"a change of {figure.value:+.3f}" if figure.value is not None else number(None)
        told = f"{change}{told.removeprefix(number(figure.value))} against {baseline:.3f}, the median of the trailing nights"
    by = "" if rule.end == "value" else f" by its {rule.end} end"
    return f"{told}: {'' if kept else 'not '}{bound}{by}"


def _row(
    rule: DataRule,
    name: str,
    verdict: Verdict,
    n: int,
    figure: Figure | None = None,
    threshold: float | None = None,
    baseline: float | None = None,
    reason: str = "",
) -> Judged:
    told = figure or Figure(None, None, None, n)
    bound = threshold if threshold is not None else rule.at_least if rule.at_least is not None else rule.at_most or 0.0
    judged = (rule.name, verdict, rule.severity, rule.slice_kind, name, rule.figure, rule.compare)
    return Judged(*judged, told.value, told.low, told.high, bound, baseline, n, reason, "")


def overall(rows: Sequence[Judged]) -> Literal["pass", "warn", "stop"]:
    """One rule that says stop stops the night; a warning or too little evidence warns; otherwise the feedback passes."""
    verdicts = {row.verdict for row in rows}
    return STOP if STOP in verdicts else WARN if verdicts & {WARN, TOO_FEW} else PASS


def part_in_words(row: Judged) -> str:
    """What a row looked at: `help of what is new, by domain`."""
    if row.slice_kind in WHOLE:
        return "all judgments" if row.slice_kind == "all" else "what is new"
    return f"{row.slice_kind.replace('_', ' ')} {row.slice}"

"""Rules of the data gate at their edges, on figures made by hand."""

from typing import Any

import pytest

from tasks.data_gate.judging import NOT_JUDGED, PASS, STOP, TOO_FEW, WARN, Figure, Figures, Judged, change, judge_rule, overall
from tasks.data_gate.rules import DataRule

ALPHA = "krippendorff_alpha"


def rule(**settings: Any) -> DataRule:
    return DataRule.model_validate({"name": "r", "figure": ALPHA, "slice_kind": "new", "min_n": 50, "at_least": 0.1} | settings)


def night(value: float | None = 0.3, low: float | None = 0.2, high: float | None = 0.4, n: int = 100, place: str = "new") -> Figures:
    return {("new" if place == "new" else "new_domain", place, ALPHA): Figure(value, low, high, n)}


def verdict(told: DataRule, tonight: Figures, trailing: tuple[Figures, ...] = ()) -> str:
    (row,) = judge_rule(told, tonight, trailing, 3)
    return row.verdict


@pytest.mark.parametrize(
    ("end", "just_broken", "just_kept"),
    [
        ("worse", (0.2, 0.099, 0.3), (0.2, 0.1, 0.3)),
        ("value", (0.099, 0.0, 0.3), (0.1, 0.0, 0.3)),
        ("better", (0.0, -0.1, 0.099), (0.0, -0.1, 0.1)),
    ],
)
def test_a_lower_bound_looks_at_the_end_that_is_named(
    end: str, just_broken: tuple[float, float, float], just_kept: tuple[float, float, float]
) -> None:
    assert verdict(rule(end=end), night(*just_broken)) == STOP
    assert verdict(rule(end=end), night(*just_kept)) == PASS


@pytest.mark.parametrize(
    ("end", "just_broken", "just_kept"),
    [
        ("worse", (0.5, 0.4, 0.601), (0.5, 0.4, 0.6)),
        ("value", (0.601, 0.4, 0.7), (0.6, 0.4, 0.7)),
        ("better", (0.7, 0.601, 0.8), (0.7, 0.6, 0.8)),
    ],
)
def test_an_upper_bound_looks_at_the_other_ends(
    end: str, just_broken: tuple[float, float, float], just_kept: tuple[float, float, float]
) -> None:
    upper = rule(end=end, at_least=None, at_most=0.6)
    assert verdict(upper, night(*just_broken)) == STOP
    assert verdict(upper, night(*just_kept)) == PASS


def test_of_two_bounds_the_broken_one_is_told() -> None:
    both = rule(at_least=0.4, at_most=0.6, end="better", severity="warn")
    (low,) = judge_rule(both, night(0.2, 0.1, 0.3), (), 3)
    (high,) = judge_rule(both, night(0.8, 0.7, 0.9), (), 3)
    assert (low.verdict, low.threshold) == (WARN, 0.4)
    assert (high.verdict, high.threshold) == (WARN, 0.6)
    assert verdict(both, night(0.5, 0.3, 0.7)) == PASS


def test_too_little_is_no_evidence_and_never_stops() -> None:
    assert verdict(rule(), night(-0.5, -0.6, -0.4, n=49)) == TOO_FEW
    assert verdict(rule(), night(-0.5, -0.6, -0.4, n=50)) == STOP
    assert verdict(rule(), night(None, None, None)) == TOO_FEW
    assert verdict(rule(), night(0.3, None, None)) == TOO_FEW
    assert verdict(rule(end="value"), night(0.3, None, None)) == PASS


def test_what_is_not_there_is_not_judged() -> None:
    assert verdict(rule(), {}) == NOT_JUDGED
    assert verdict(rule(figure="gold_passed_share"), night()) == NOT_JUDGED
    assert judge_rule(rule(slice_kind="new_domain"), night(), (), 3) == []


def test_a_small_slice_is_no_reason_to_warn() -> None:
    rows = judge_rule(rule(slice_kind="new_domain"), night(n=3, place="help") | night(place="code"), (), 3)
    assert {row.slice: row.verdict for row in rows} == {"help": NOT_JUDGED, "code": PASS}
    assert overall(rows) == PASS
    (named,) = judge_rule(rule(slice_kind="new_domain", slices=("code",)), night(n=3, place="help") | night(place="code"), (), 3)
    assert named.slice == "code"


def test_a_slice_that_no_night_ever_had_is_told() -> None:
    by_domain = rule(slice_kind="new_domain", slices=("code", "safety"))
    trailing = [night(place="safety")]
    found = judge_rule(by_domain, night(place="code"), trailing, 3)
    assert [row.verdict for row in found] == [PASS, NOT_JUDGED], "it was there before, and tonight is not"
    (typo,) = judge_rule(rule(slice_kind="new_domain", slices=("cdoe",)), night(place="code"), trailing, 3)
    assert (typo.verdict, overall([typo])) == (TOO_FEW, WARN)
    assert "no judgment is of new domain 'cdoe'; there are: code, safety" in typo.reason


def test_a_change_by_hand() -> None:
    """Medians 0.40 and, of the half widths 0.0588, 0.0784, 0.098 (1.96 · 0.03, 0.04, 0.05), a standard error of 0.04.

    Tonight's is 0.03, together √(0.03² + 0.04²) = 0.05: the change −0.25 has the interval −0.25 ± 0.098.
    """
    trailing = [Figure(v, v - 1.959964 * e, v + 1.959964 * e, 100) for v, e in ((0.5, 0.05), (0.4, 0.04), (0.39, 0.03))]
    baseline, moved = change(Figure(0.15, 0.15 - 1.959964 * 0.03, 0.15 + 1.959964 * 0.03, 100), trailing)
    assert baseline == 0.4
    assert (moved.value, moved.low, moved.high) == pytest.approx((-0.25, -0.348, -0.152), abs=1e-4)


def test_a_change_is_judged_by_its_interval_against_the_trailing_nights() -> None:
    """Of equal nights with half width 0.1 the change has the half width 0.1414."""
    falls = rule(compare="change", at_least=-0.1, end="better")
    before = tuple(night(0.5, 0.4, 0.6) for _ in range(3))
    assert verdict(falls, night(0.26, 0.16, 0.36), before) == PASS  # −0.24 + 0.1414 = −0.0986
    assert verdict(falls, night(0.25, 0.15, 0.35), before) == STOP  # −0.25 + 0.1414 = −0.1086
    (row,) = judge_rule(falls, night(0.25, 0.15, 0.35), before, 3)
    assert row.baseline == 0.5
    assert "median of the trailing nights" in row.reason


def test_one_odd_night_does_not_move_the_baseline() -> None:
    falls = rule(compare="change", at_least=-0.1, end="better")
    before = tuple(night(value, value - 0.02, value + 0.02) for value in (0.5, 0.5, 0.5, 0.5, -0.9))
    assert verdict(falls, night(0.3, 0.28, 0.32), before) == STOP


def test_without_a_history_changes_are_not_judged() -> None:
    falls = rule(compare="change", at_least=-0.1, end="better")
    assert verdict(falls, night()) == NOT_JUDGED
    assert verdict(falls, night(), (night(),) * 2) == NOT_JUDGED
    assert verdict(falls, night(), (night(),) * 2 + (night(n=3),)) == NOT_JUDGED
    assert verdict(falls, night(), (night(),) * 3) == PASS


def test_what_the_trailing_nights_had_and_tonight_has_not_is_missed() -> None:
    falls = rule(compare="change", at_least=-0.1, end="better")
    assert verdict(falls, {}, (night(),) * 3) == TOO_FEW
    assert verdict(falls, night(n=3), (night(),) * 3) == TOO_FEW


def test_one_stop_stops_and_too_little_evidence_warns() -> None:
    def rows(*verdicts: str) -> list[Judged]:
        return [Judged("r", verdict, "stop", "all", "all", ALPHA, "level", None, None, None, 0.0, None, 0, "") for verdict in verdicts]  # type: ignore[arg-type]

    assert overall(rows(PASS, NOT_JUDGED)) == PASS
    assert overall(rows(PASS, TOO_FEW)) == WARN
    assert overall(rows(PASS, WARN)) == WARN
    assert overall(rows(TOO_FEW, STOP, PASS)) == STOP

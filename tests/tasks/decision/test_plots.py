"""The report's plots: what a reader needs is in them, and equal data gives equal bytes."""

import re

import polars as pl

from tasks.decision.plots import nights_plot, overoptimization_plot, reliability_plot, timeline_plot
from tasks.decision.report import days_with


def row(day: str, value: float | None, kind: str = "day", figure: str = "krippendorff_alpha") -> dict[str, object]:
    return {
        "slice_kind": kind,
        "slice": day,
        "figure": figure,
        "value": value,
        "low": value,
        "high": None if value is None else value + 0.1,
    }


def test_agreement_by_day_is_drawn_in_order_of_time_where_it_is_defined() -> None:
    rows = [
        row("2026-01-03", 0.3),
        row("2026-01-01", 0.1),
        row("2026-01-02", None),
        row("all", 0.2, "all"),
        row("2026-01-01", 0.9, figure="x"),
    ]
    days = days_with(pl.DataFrame(rows), "krippendorff_alpha")
    assert [day["slice"] for day in days] == ["2026-01-01", "2026-01-03"]
    svg = timeline_plot(days, "krippendorff alpha")
    assert svg == timeline_plot(days, "krippendorff alpha")
    assert 'aria-label="krippendorff alpha by day"' in svg
    marks = re.findall(r'<use xlink:href="#[^"]*" x="([\d.]+)" y="([\d.]+)" style="fill: #3b82f6', svg)
    (first_x, first_y), (second_x, second_y) = [tuple(map(float, mark)) for mark in marks]
    assert first_x < second_x
    assert first_y > second_y, "SVG counts downward"


def test_the_reliability_plot_stands_bins_without_an_interval_and_is_always_the_same() -> None:
    rows = [
        {"predicted": 0.6, "value": 0.55, "low": 0.5, "high": 0.6},
        {"predicted": 0.9, "value": 1.0, "low": None, "high": None},
    ]
    svg = reliability_plot(rows)
    assert svg == reliability_plot(rows)
    assert 'aria-label="reliability' in svg
    assert "observed" in svg


def test_the_true_reward_is_drawn_beside_the_scores_where_it_is_known() -> None:
    gains = {name: [(1.0, 0.5), (4.0, 0.8)] for name in ("score", "judge_score")}
    assert "true reward" not in overoptimization_plot(gains, {}, {})
    assert "true reward (simulated)" in overoptimization_plot({**gains, "true_reward": [(1.0, 0.4)]}, {}, {})


def test_the_best_of_n_are_drawn_beside_the_scores_where_they_were_measured() -> None:
    gains = {name: [(1.0, 0.5), (4.0, 0.8)] for name in ("score", "judge_score")}
    drawn = overoptimization_plot(gains, {}, {"score": [(0.19, 0.3), (0.64, 0.6)], "judge_score": []})
    assert "best of n: reward model" in drawn
    assert "best of n: held-out judge" not in drawn


def test_nights_are_marked_by_what_was_decided_a_line_per_seed() -> None:
    rows = [
        {"night": night, "outcome": outcome, "gain_mean": 0.5, "gain_low": 0.4, "gain_high": 0.6}
        for night, outcome in enumerate(["promoted (gate: pass)", "stopped by the data gate: agreement", "nothing new"], 1)
    ]
    svg = nights_plot({0: rows})
    assert svg == nights_plot({0: rows})
    assert "not promoted" not in svg
    assert all(decision in svg for decision in ("promoted", "stopped", "nothing new"))

"""Bias on simulated judgments with known effects, by hand, and by plain Python."""

import itertools
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.quality.quality import QualityConfig
from tests.tasks.quality.measuring import figures, measured, vote

START = datetime(2026, 11, 2, 8, tzinfo=UTC)
CONFIG = QualityConfig(resamples=100, flag_min_judgments=20)


def at(minutes: float) -> dict[str, str]:
    return {"event_time": (START + timedelta(minutes=minutes)).isoformat()}


def crowd(seed: int = 0, comparisons: int = 60) -> list[dict[str, Any]]:
    """Ten careful annotators, each judging every comparison: a is better in the odd ones, and one of five verdicts is thrown."""
    rng = np.random.default_rng(seed)
    rows = []
    for c, person in itertools.product(range(comparisons), range(10)):
        better, first = "ba"[c % 2], "ab"[int(rng.integers(2))]
        verdict = better if rng.random() < 0.8 else str(rng.choice(["a", "b", "tie"]))
        about = {
            "model_a": f"m{c % 3}",
            "model_b": f"m{3 + c % 2}",
            "presented_first": first,
            "seconds_spent": float(rng.lognormal(3, 0.3)),
        }
        rows.append(vote(verdict, f"careful-{person}", c, **about, **at(4 * c + rng.random())))
    return rows


def one_more(who: str, verdict: Any, comparisons: int = 60, **values: Any) -> list[dict[str, Any]]:
    """One more annotator, whose verdict is told by the comparison and by what stood first."""
    rng = np.random.default_rng(1)
    rows = []
    for c in range(comparisons):
        first = "ab"[int(rng.integers(2))]
        about = {
            "model_a": f"m{c % 3}",
            "model_b": f"m{3 + c % 2}",
            "presented_first": first,
            "seconds_spent": float(rng.lognormal(3, 0.3)),
        }
        rows.append(vote(verdict(c, first), who, c, **(about | values), **at(4 * c)))
    return rows


def flags(rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    found = measured(rows, CONFIG).annotators
    return {row["annotator_id"]: row["flags"] for row in found.to_dicts()}


def better(c: int, first: str) -> str:
    return "ba"[c % 2]


@pytest.mark.parametrize(
    ("flag", "rows"),
    [
        ("one_sided", one_more("odd", lambda c, first: first)),
        ("disagrees", one_more("odd", lambda c, first: "ab"[c % 2])),
        ("ties", one_more("odd", lambda c, first: "tie" if c % 4 < 2 else better(c, first))),
        ("fast", one_more("odd", better, seconds_spent=1.0)),
        ("long_run", one_more("odd", lambda c, first: first if 10 <= c < 30 else better(c, first))),
        ("favours_model", one_more("odd", lambda c, first: "a" if c % 3 == 0 else better(c, first))),
        ("fails_gold", [row | {"gold_verdict": "ba"[row["comparison_id"] % 2]} for row in one_more("odd", lambda c, first: "tie")]),
    ],
)
def test_an_annotator_with_a_known_failing_has_its_flag_and_careful_ones_have_none(flag: str, rows: list[dict[str, Any]]) -> None:
    people = [row | {"gold_verdict": "ba"[row["comparison_id"] % 2]} for row in crowd()]
    found = flags([*people, *rows])
    assert flag in found.pop("odd")
    assert sum(map(len, found.values())) <= 1, found


def test_few_judgments_give_no_flag() -> None:
    found = flags([*crowd(), *one_more("odd", lambda c, first: first, comparisons=19)])
    assert found["odd"] == []


def test_sides_and_their_interval_by_annotator() -> None:
    rows = [*crowd(), *one_more("odd", lambda c, first: first)]
    quality = measured(rows, QualityConfig(resamples=1000))
    decided = [row for row in rows if row["verdict"] != "tie"]
    share = figures(quality)["presented_first_share"]
    assert (share["value"], share["n"]) == (np.mean([row["verdict"] == row["presented_first"] for row in decided]), len(decided))
    odd = quality.annotators.row(by_predicate=pl.col("annotator_id") == "odd", named=True)
    # Wilson for 60 of 60: the lower end is n / (n + z²).
    assert (odd["presented_first_share"], odd["presented_first_low"]) == (1, pytest.approx(60 / (60 + 1.959964**2)))
    assert share["high"] - share["low"] > 0.03, "one annotator in eleven carries the bias, so the interval over annotators is wide"


def test_favouritism_by_plain_python() -> None:
    rows = [*crowd(), *one_more("odd", lambda c, first: "a" if c % 3 == 0 else better(c, first))]
    found = {(row["annotator_id"], row["model"]): row for row in measured(rows, CONFIG).favouritism.to_dicts()}
    score = {"a": 1.0, "tie": 0.5, "b": 0.0}
    for (who, model), row in found.items():
        differences, own, drawn = [], [], []
        for mine in (r for r in rows if r["annotator_id"] == who and model in (r["model_a"], r["model_b"])):
            side = (lambda v: v) if mine["model_a"] == model else (lambda v: 1 - v)
            others = [r for r in rows if r["comparison_id"] == mine["comparison_id"] and r["annotator_id"] != who]
            own.append(side(score[mine["verdict"]]))
            expected = np.mean([side(score[r["verdict"]]) for r in others])
            differences.append(own[-1] - expected)
            drawn.append(expected * (1 - expected))
        assert (row["n"], row["win_share"], row["difference"]) == pytest.approx((len(own), np.mean(own), np.mean(differences)), abs=1e-5)
        z = np.mean(differences) / math.sqrt(max(np.var(differences, ddof=1), np.mean(drawn)) / len(own))
        assert row["z"] == pytest.approx(z, rel=1e-3, abs=1e-4)
    assert found["odd", "m0"]["difference"] > 0.3


def test_runs_and_slopes_within_sittings_by_plain_python() -> None:
    """Sittings of 40 judgments with a night between; seconds grow by 1 % a judgment and agreement falls."""
    rng = np.random.default_rng(0)
    rows = []
    for c, person in itertools.product(range(120), range(4)):
        place = c % 40
        wrong = rng.random() < 0.1 + place / 100
        minutes = 1440 * (c // 40) + 2 * place
        seconds = float(20 * 1.01**place * rng.lognormal(0, 0.05))
        verdict = "ab"[(c % 2) ^ wrong] if person else "ba"[(c % 2) ^ 1]
        rows.append(vote(verdict, f"p{person}", c, presented_first="a", seconds_spent=seconds if person else None, **at(minutes)))
    quality = measured(rows, QualityConfig(resamples=200))
    found = figures(quality)
    assert found["fatigue_log_seconds_slope"]["value"] == pytest.approx(100 * math.log(1.01), abs=0.05)
    assert found["fatigue_agreement_slope"]["high"] < 0

    votes: dict[int, list[str]] = {}
    for r in rows:
        votes.setdefault(r["comparison_id"], []).append(r["verdict"])
    xy = xx = 0.0
    for person, sitting in itertools.product(range(4), range(3)):
        own = [r for r in rows if r["annotator_id"] == f"p{person}" and r["comparison_id"] // 40 == sitting]
        told = []
        for place, r in enumerate(own):
            others = list(votes[r["comparison_id"]])
            others.remove(r["verdict"])
            margin = others.count("a") - others.count("b")
            if margin:
                told.append((place, (margin > 0) == (r["verdict"] == "a")))
        x, y = np.array(told, float).T
        xy += ((x - x.mean()) * (y - y.mean())).sum()
        xx += ((x - x.mean()) ** 2).sum()
    assert found["fatigue_agreement_slope"]["value"] == pytest.approx(100 * xy / xx, abs=1e-6)
    for person in quality.annotators.to_dicts():
        pressed = [r["verdict"] for r in rows if r["annotator_id"] == person["annotator_id"]]
        assert person["longest_run"] == max(len(list(run)) for _, run in itertools.groupby(pressed))


def test_the_annotators_table_by_hand() -> None:
    first = {"presented_first": "a"}
    rows = [
        vote("a", "kim", 1, seconds_spent=2, **first),
        vote("a", "lee", 1),
        vote("b", "max", 1),
        vote("b", "kim", 2, seconds_spent=8, **first),
        vote("a", "lee", 2),
        vote("tie", "kim", 3),
    ]
    quality = measured(rows)
    kim, lee, most = quality.annotators.to_dicts()
    # Of kim's judgments the others favour a side only in comparison 2, where lee alone says a. lee: comparison 2, kim alone says b.
    assert (kim["n_judgments"], kim["majority_agreement"], kim["n_majority"], kim["presented_first_share"]) == (3, 0.0, 1, 0.5)
    assert (kim["tie_share"], kim["median_seconds"]) == (1 / 3, pytest.approx(4))
    assert (lee["majority_agreement"], lee["n_majority"], lee["presented_first_share"], lee["longest_run"]) == (0.0, 1, None, None)
    assert (most["majority_agreement"], most["n_majority"]) == (0.0, 1)
    pairs = [(p["annotator_1"], p["annotator_2"], p["n_comparisons"], p["raw_agreement"]) for p in quality.pairs.to_dicts()]
    assert pairs == [("kim", "lee", 2, 0.5), ("kim", "max", 1, 0.0), ("lee", "max", 1, 0.0)]
    concentration = {name: figures(quality)[name]["value"] for name in ("effective_annotators", "top_annotators_share")}
    assert concentration == {"effective_annotators": pytest.approx(36 / 14), "top_annotators_share": 0.5}


def test_length_from_the_texts() -> None:
    """Longer wins three decided judgments of four; equal lengths do not count."""
    longer = {"response_a": "a long answer", "response_b": "short"}
    rows = [
        vote(v, who, c, **longer) for who, v, c in (("kim", "a", 1), ("lee", "a", 1), ("max", "b", 1), ("kim", "a", 2), ("lee", "tie", 2))
    ]
    found = figures(measured([*rows, vote("a", "kim", 3)]))
    assert (found["longer_preferred_share"]["value"], found["longer_preferred_share"]["n"]) == (3 / 4, 4)


def test_nobody_known_and_no_times_leave_figures_undefined_and_not_wrong() -> None:
    rows = [vote(v, None, c, presented_first="a") for c in range(30) for v in ("a", "b", "a")]
    quality = measured(rows)
    found = figures(quality)
    assert quality.annotators.height == quality.pairs.height == quality.favouritism.height == 0
    assert (found["presented_first_share"]["value"], found["presented_first_share"]["n"]) == (2 / 3, 90)
    half = 1.96 * math.sqrt(2 / 9 / 90)
    assert found["presented_first_share"]["high"] - found["presented_first_share"]["low"] == pytest.approx(2 * half, rel=0.3)
    for name in ("self_agreement", "effective_annotators", "fatigue_agreement_slope", "tie_share_spread", "geometric_mean_seconds"):
        assert found[name]["value"] is None, name
    assert found["krippendorff_alpha_change"]["value"] is None


def test_a_single_annotator_has_shares_and_no_intervals() -> None:
    found = figures(measured([vote("a", "kim", c, presented_first="a") for c in range(5)]))
    share = found["presented_first_share"]
    assert (share["value"], share["low"], share["high"]) == (1, None, None)
    assert found["krippendorff_alpha"]["value"] is None


def test_drift_against_the_days_before() -> None:
    """Twice as many ties on the last day, and half as many seconds."""
    rows = [
        vote("tie" if c % 10 < (6 if c >= 100 else 3) else "a", who, c, seconds_spent=10 if c >= 100 else 20, **at(1440 * (c // 50)))
        for c in range(150)
        for who in ("kim", "lee", "max")
    ]
    found = figures(measured(rows))
    assert found["tie_share_change"]["value"] == pytest.approx(0.3)
    assert found["log_seconds_change"]["value"] == pytest.approx(-math.log(2))
    only_last = figures(measured(rows, QualityConfig(resamples=100, recent_days=3)))
    assert only_last["tie_share_change"]["value"] is None, "nothing is before the last three days"

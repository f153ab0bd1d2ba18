"""The rules that flag annotators. Expected values are by hand."""

from typing import Any

import polars as pl
import pytest

from tasks.quality.aggregation.spammers import SpammerRules, behaviour, flags


def votes(name: str | None, verdicts: str, first: str = "", seconds: float | None = None) -> list[dict[str, Any]]:
    """Votes of one annotator: a letter per verdict (t for tie), and which response stood first."""
    sides = first or "-" * len(verdicts)
    return [
        {
            "annotator_id": name,
            "verdict": {"t": "tie"}.get(verdict, verdict),
            "presented_first": None if side == "-" else side,
            "seconds_spent": seconds,
        }
        for verdict, side in zip(verdicts, sides, strict=True)
    ]


def measured(*rows: list[dict[str, Any]], high: float = 0.9) -> pl.DataFrame:
    schema = {"annotator_id": pl.String, "verdict": pl.String, "presented_first": pl.String, "seconds_spent": pl.Float64}
    return behaviour(pl.DataFrame([row for one in rows for row in one], schema)).with_columns(high=pl.lit(high))


def test_behaviour_is_counted_by_hand() -> None:
    found = measured(votes("x", "aabt", "ab-a", 10.0), votes("x", "a", "b"), votes(None, "bbbb", "bbbb", 1.0)).to_dicts()
    assert len(found) == 1, "nobody known has no row"
    one = found[0]
    assert (one["n_judgments"], one["one_verdict"], one["n_timed"], one["median_seconds"]) == (5, 3 / 5, 4, 10.0)
    assert (one["n_sided"], one["one_side"]) == (3, pytest.approx(2 / 3)), "decided with a known side: first, second, second"


def test_every_rule_flags_and_says_what_it_looked_at() -> None:
    rules = SpammerRules(min_judgments=4, one_answer_share=0.9)
    frame = measured(
        votes("always-a", "aaaa", "abab", 20.0),
        votes("left", "abab", "abab", 20.0),
        votes("right", "abab", "baba", 20.0),
        votes("quick", "abab", "aabb", 4.0),
        votes("ties", "tttt", "abab", 20.0),
        votes("few", "aaa", "aaa", 1.0),
        votes("good", "abba", "aabb", 20.0),
    )
    found = {(one["annotator_id"], one["rule"]): one["figure"] for one in flags(frame, rules, "report").to_dicts()}
    assert found == {
        ("always-a", "one_verdict"): 1.0,
        ("left", "one_side"): 1.0,
        ("right", "one_side"): 1.0,
        ("quick", "fast"): 4.0,
        ("ties", "one_verdict"): 1.0,
    }


def test_unreliable_is_told_by_the_upper_end_and_needs_judgments() -> None:
    frame = pl.concat([measured(votes(name, "abab"), high=high) for name, high in (("low", 0.59), ("sure", 0.61))])
    rules = SpammerRules(min_judgments=4, reliability_margin=0.1)
    assert flags(frame, rules, "exclude").to_dicts() == [
        {"annotator_id": "low", "rule": "unreliable", "figure": 0.59, "n_judgments": 4, "action": "exclude"}
    ]
    assert flags(frame, SpammerRules(min_judgments=5), "exclude").is_empty()


def test_without_times_nobody_is_fast() -> None:
    assert flags(measured(votes("x", "ab" * 20), votes("y", "ba" * 20)), SpammerRules(), "report").is_empty()

"""Rows with several pairs, and comparisons known by id only, in the lake. Expected values are by hand."""

from pathlib import Path
from typing import Any

from data_contracts.home import Home
from tests.tasks.deliveries import comparisons, deliver_files, judgments
from tests.tasks.sources.reading import write
from tests.tasks.sources.test_formats import RANKED, VOTE, record


def land(home: Home, form: str, *rows: dict[str, Any]) -> dict[str, Any]:
    path = write(home.root / "in/rows.jsonl", rows)
    headline = deliver_files(home, path, form=form).manifest.headline
    return {name.removeprefix("rows_"): count for name, count in headline.items() if count}


def test_a_ranking_is_one_row_and_three_judgments(tmp_path: Path) -> None:
    home = Home(tmp_path)
    row = RANKED | {"ranks": [2, 1, 1], "id": 4}
    assert land(home, "rankings", row) == {"read": 1, "accepted": 1, "judgments": 3, "comparisons": 3}
    assert {one["ranking_id"] for one in comparisons(home)} == {"export/4"}
    won = {}
    texts = {one["comparison_id"]: (one["response_a"], one["response_b"]) for one in comparisons(home)}
    for one in judgments(home):
        a, b = texts[one["comparison_id"]]
        won[frozenset((a, b))] = {"a": a, "b": b}.get(one["verdict"], "tie")
    assert won == {frozenset("wx"): "x", frozenset("wy"): "y", frozenset("xy"): "tie"}
    other = RANKED | {"ranks": [1, 2, 3], "id": 4}
    assert land(home, "rankings", row, other) == {"read": 2, "known": 1, "accepted": 1, "judgments": 3}


def test_a_text_that_a_ranking_holds_twice_is_judged_twice(tmp_path: Path) -> None:
    """y before x before y: against x, y has won once and lost once, and neither corrects the other."""
    home = Home(tmp_path)
    row = {"prompt": "p", "responses": ["y", "x", "y"], "ranks": [1, 2, 3], "annotator_id": "kim", "event_time": "2026-11-02T09:30:00Z"}
    assert land(home, "rankings", row) == {"read": 1, "accepted": 1, "judgments": 3, "comparisons": 2}
    mixed = next(one["comparison_id"] for one in comparisons(home) if one["response_a"] != one["response_b"])
    assert sorted(one["verdict"] for one in judgments(home) if one["comparison_id"] == mixed) == ["a", "b"]
    assert {one["revision"] for one in judgments(home)} == {0}
    assert land(home, "rankings", row, {}) == {"read": 2, "known": 1, "quarantined": 1}


def test_a_row_of_which_one_pair_contradicts_the_lake_is_quarantined_as_a_whole(tmp_path: Path) -> None:
    home = Home(tmp_path)
    ranked = record({"order": [{"value": ["r3", "r1", "r2"], "user_id": "u"}]}, r3="z")
    assert land(home, "argilla", ranked) == {"read": 1, "accepted": 1, "judgments": 3, "comparisons": 3}
    changed = record({"order": [{"value": ["r1", "r2", "r3"], "user_id": "v"}]}, r3="other")
    assert land(home, "argilla", changed) == {"read": 1, "quarantined": 1}
    assert len(judgments(home)) == 3


def test_texts_may_come_later_than_the_votes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    ids = VOTE | {"conversation_a": None, "conversation_b": None}
    assert land(home, "arena", ids) == {"read": 1, "accepted": 1, "judgments": 1, "comparisons": 1}
    assert land(home, "arena", ids | {"winner": "tie (bothbad)", "judge": "u2"})["judgments"] == 1
    assert land(home, "arena", VOTE) == {"read": 1, "accepted": 1, "comparisons": 1}
    (comparison,) = comparisons(home)
    assert (comparison["response_a"], comparison["response_b"], comparison["model_a"]) == ("No", "Hello", "koala")
    assert {(one["verdict"], one["tie_reason"], one["presented_first"]) for one in judgments(home)} == {
        ("b", None, "b"),
        ("tie", "both_bad", "b"),
    }

"""Labelling by a model: what both orders say, by hand, from a real endpoint on this machine; and that ingest reads what comes of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import InputError, RecipeError
from data_contracts.home import Home
from flows.label import label_and_tell
from flows.recipe import load_recipe
from tasks.requests.labelling import read_pairs
from tests.models.evaluation.judges.test_endpoint import Reply, Server, completion, responses_in, server
from tests.tasks.deliveries import comparisons, deliver_files, judgments

__all__ = ["server"]
PAIRS = [
    {"prompt": "Which is longer?", "response_a": "long long", "response_b": "short", "slice": "s", "presented_first": "b", "verdict": None},
    {"prompt": "Which is longer?", "response_a": "tiny", "response_b": "longer than that", "verdict": None},
    {"prompt": "Which is first?", "response_a": "first!", "response_b": "first?", "verdict": None},
    {"prompt": [{"role": "user", "content": "Will you say?"}], "response_a": "mute", "response_b": "mute again", "verdict": None},
    {"prompt": "The same?", "response_a": "same", "response_b": "same", "verdict": None},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def longer(question: str) -> Reply:
    """Prefers the longer response, the first place where both are as long, and says nothing about the mute."""
    assert "Longer is better." in question
    first, second = responses_in(question)
    if "mute" in first:
        return completion("I would rather not say.")
    return completion(f"Verdict: {'B' if len(second) > len(first) else 'A'}")


def recipe_of(server: Server, answer: Callable[[str], Reply]) -> Any:
    server.answer = answer
    annotator = {"kind": "endpoint", "name": "constitution", "url": f"http://127.0.0.1:{server.http.server_port}/v1", "model": "m"}
    settings = {"rubric": "Longer is better.", "attempts": 1, "wait": 0, "max_failed_share": 1.0}
    return load_recipe("built-in", changes={"annotators": [{**annotator, **settings}]})


@pytest.mark.slow
def test_what_a_model_says_is_read_like_any_source(server: Server, tmp_path: Path) -> None:
    pairs, labels = write(tmp_path / "request.jsonl", PAIRS), tmp_path / "export" / "labels.jsonl"
    labels.parent.mkdir()
    recipe = recipe_of(server, longer)
    label_and_tell(tmp_path / "home", recipe, None, pairs, labels)
    rows = [json.loads(line) for line in labels.read_text().splitlines()]
    told = [(row["response_a"], row["verdict"], row.get("tie_reason")) for row in rows]
    assert told == [("long long", "a", None), ("tiny", "b", None), ("first!", "tie", "orders_disagree"), ("same", "tie", None)]
    assert all("presented_first" not in row for row in rows)
    asked = len(server.asked)
    assert asked == 2 * 4, "equal responses are asked about by nobody"
    home = Home(tmp_path / "home")
    deliver_files(home, labels)
    texts = {one["comparison_id"]: one for one in comparisons(home)}
    found = {(texts[one["comparison_id"]].get(f"response_{one['verdict']}"), one["tie_reason"]) for one in judgments(home)}
    assert found == {("long long", None), ("longer than that", None), (None, "orders_disagree"), (None, None)}
    assert {(one["annotator_id"], one["annotator_kind"]) for one in judgments(home)} == {("ai:constitution", "model")}
    with pytest.raises(InputError, match="there is a file already"):
        label_and_tell(tmp_path / "home", recipe, None, pairs, labels)
    label_and_tell(tmp_path / "home", recipe, "constitution", pairs, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == labels.read_bytes()
    assert len(server.asked) == asked, "what was answered is not asked again"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no pair to be labelled"),
        ([{**PAIRS[0], "verdict": "a"}], "row 1: it has a verdict already"),
        ([PAIRS[0], {"prompt": "x", "response_a": "y", "verdict": None}], "row 2: .*response_b"),
        ([{"comparison_id": "1", "verdict": None}], "row 1: its texts are not there"),
        ([{**PAIRS[0], "colour": "red"}], "row 1: .*no column colour"),
    ],
)
def test_what_cannot_be_labelled_is_named(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_pairs(write(tmp_path / "request.jsonl", rows))


def test_an_annotator_is_one_of_the_recipes(server: Server, tmp_path: Path) -> None:
    pairs = write(tmp_path / "request.jsonl", PAIRS)
    for recipe, name, message in (
        (load_recipe("built-in"), None, "has no annotators"),
        (recipe_of(server, longer), "other", "no annotator 'other'; the recipe's are: constitution"),
    ):
        with pytest.raises(RecipeError, match=message):
            label_and_tell(tmp_path, recipe, name, pairs, tmp_path / "labels.jsonl")

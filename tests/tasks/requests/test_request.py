"""A request: what it chooses, and that judgments of it come back, through every tool's format, as judgments of what was asked."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.errors import InputError
from data_contracts.home import Home
from data_contracts.manifest import Identity
from data_contracts.records import PROPOSED_PAIR
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.requests.formats import FILES, write_request
from tasks.requests.request import REQUEST_FILE, RequestConfig, make_request
from tasks.requests.selection import GOLD, INFORMATIVE, RANDOM, REPEATED, select
from tests.tasks.deliveries import comparisons, deliver, deliver_files, judgments, row, write_rows

SHARES = {RANDOM: 0.25, GOLD: 0.1, REPEATED: 0.15}


def proposals(**sizes: int) -> pl.DataFrame:
    """So many pairs of each slice; the later ones tell more."""
    rows = [
        {"prompt_id": f"{part}-{i:03d}", "slice": part, "information": i / 1000, "response_a": "x", "response_b": "y"}
        for part, size in sizes.items()
        for i in range(size)
    ]
    return pl.DataFrame(rows)


def known(count: int, why: str) -> pl.DataFrame:
    return pl.DataFrame([{"comparison_id": f"{why}-{i}", "prompt_id": f"{why}-{i}", "slice": "a"} for i in range(count)])


def test_a_request_has_the_shares_that_were_asked_for() -> None:
    rows = select(proposals(a=300, b=100), known(30, GOLD), known(30, REPEATED), n=100, shares=SHARES, seed=0)
    assert rows.height == 100
    assert dict(rows["why"].value_counts().iter_rows()) == {RANDOM: 25, GOLD: 10, REPEATED: 15, INFORMATIVE: 50}
    assert rows["number"].to_list() == list(range(1, 101))
    new = rows.filter(pl.col("why").is_in([RANDOM, INFORMATIVE]))
    assert new["prompt_id"].n_unique() == new.height, "no prompt twice"
    assert set(rows["presented_first"]) == {"a", "b"}
    assert rows["why"].to_list() != rows.sort("why")["why"].to_list(), "in no order that would tell what is what"


def test_the_informative_ones_tell_most_and_keep_the_slices_shares() -> None:
    rows = select(proposals(a=300, b=100), known(0, GOLD), known(0, REPEATED), n=40, shares=dict.fromkeys(SHARES, 0.0), seed=0)
    assert Counter(rows["slice"]) == {"a": 30, "b": 10}
    assert sorted(rows.filter(pl.col("slice") == "b")["prompt_id"]) == [f"b-{i:03d}" for i in range(90, 100)]


def test_what_the_lake_lacks_is_asked_anew_and_a_seed_decides() -> None:
    without = select(proposals(a=90), known(2, GOLD), known(0, REPEATED), n=50, shares=SHARES, seed=0)
    assert Counter(without["why"]) == {RANDOM: 12, GOLD: 2, INFORMATIVE: 36}
    assert select(proposals(a=20), known(0, GOLD), known(0, REPEATED), n=50, shares=SHARES, seed=0).height == 20
    chosen = [select(proposals(a=90), known(9, GOLD), known(9, REPEATED), n=50, shares=SHARES, seed=seed) for seed in (0, 0, 1)]
    assert chosen[0].equals(chosen[1])
    assert not chosen[0].equals(chosen[2])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A lake with gold and plain comparisons, some known by their texts and some by ids of two sources."""
    home = Home(tmp_path / "home")
    rows = [row(prompt=f"plain {i}", annotator_id="kim", event_time=f"2026-01-01T00:00:0{i}Z") for i in range(3)]
    gold = [row(prompt=f"gold {i}", annotator_id="kim", gold_verdict="b", event_time=f"2026-01-01T00:01:0{i}Z") for i in range(2)]
    own = [row(prompt="with an id", comparison_id="c7", annotator_id="kim", event_time="2026-01-01T00:02:00Z")]
    deliver(home, [*rows, *gold, *own], "tool")
    deliver(home, [row(prompt="another's", comparison_id="c8", annotator_id="kim")], "other")
    return home


def artifact(home: Home, kind: str, rows: list[dict[str, object]] | None = None) -> Artifact:
    def build(directory: Path) -> dict[str, int]:
        if rows is not None:
            pq.write_table(PROPOSED_PAIR.table(rows), directory / "pairs.parquet")
        return {}

    return home.artifacts.make(Identity(kind=kind, code_version="1", config={"n": len(rows or [])}), build).artifact


def request(home: Home, n_proposals: int = 6, **settings: Any) -> pl.DataFrame:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "new?"}]
    rows: list[dict[str, object]] = [
        {"prompt_id": f"p{i}", "slice": "s", "prompt": prompt[i % 2 :], "response_a": f"one {i}", "response_b": f"two {i}"}
        | {"model_a": "champion", "model_b": "base_model", "information": i / 10}
        for i in range(n_proposals)
    ]
    inputs = {"proposals": artifact(home, "proposals", rows), "snapshot": take_snapshot(home, SnapshotConfig()).artifact}
    models = {"base_model": artifact(home, "base_model"), "champion": artifact(home, "policy")}
    config = RequestConfig(source="tool", gold_share=0.5, repeated_share=0.5, random_share=0, **settings)
    return pl.read_parquet(make_request(home, config, **inputs, **models).artifact.file(REQUEST_FILE))


def test_known_comparisons_are_those_that_can_come_back_as_themselves(home: Home) -> None:
    rows = request(home, n=20)
    by_why = {why: part for (why,), part in rows.group_by("why")}
    assert by_why[GOLD].height == 2
    assert sorted(one[0]["content"] for one in by_why[REPEATED]["prompt"]) == ["plain 0", "plain 1", "plain 2", "with an id"]
    assert by_why[INFORMATIVE].height == 6
    assert all(name.startswith(("policy-", "base_model-")) for name in by_why[INFORMATIVE]["model_a"])


def answered(form: str, folder: Path) -> None:
    """Fill a request in as its tool would: lee says that what reads `Blue.` or `one …` is better."""
    path = folder / FILES[form]
    if form == "native":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        write_rows(path, [line | {"verdict": better(line["response_a"], "a", "b"), "annotator_id": "lee"} for line in lines])
        return
    tasks = json.loads(path.read_text())
    for task in tasks:
        if form == "argilla":
            value = better(task["fields"]["response_a"], "response_a", "response_b")
            task["responses"] = {"best": [{"value": value, "user_id": "lee"}]}
        else:
            value = {"selected": better(task["data"]["answer1"], "left", "right")}
            task["annotations"] = [{"completed_by": "lee", "result": [{"type": "pairwise", "value": value}]}]
    path.write_text(json.dumps(tasks))


def better(text: str, this: str, other: str) -> str:
    return this if text.startswith(("Blue", "one")) else other


@pytest.mark.parametrize("form", FILES)
def test_judgments_come_back_as_judgments_of_what_was_asked(form: str, home: Home, tmp_path: Path) -> None:
    rows, before = request(home, n=20), {one["comparison_id"] for one in comparisons(home)}
    write_request(rows, "abc", tmp_path / "out")
    answered(form, tmp_path / "out")
    headline = deliver_files(home, tmp_path / "out" / FILES[form], "tool", form).manifest.headline
    assert (headline["rows_accepted"], headline["rows_quarantined"], headline["comparisons"]) == (12, 0, 6)
    texts = {one["comparison_id"]: one for one in comparisons(home)}
    by_lee = [one for one in judgments(home) if one["annotator_id"] == "lee"]
    asked_again = set(rows["comparison_id"].drop_nulls())
    assert {one["comparison_id"] for one in by_lee} & before == asked_again
    for one in by_lee:
        assert better(str(texts[one["comparison_id"]]["response_a"]), "a", "b") == one["verdict"]
    new = [one for name, one in texts.items() if name not in before]
    assert {(one["slice"], len(one["prompt"])) for one in new} == {("s", 1), ("s", 2)}
    if form == "native":
        assert {(one["model_a"] or "").partition("-")[0] for one in new} | {(one["model_b"] or "").partition("-")[0] for one in new} == {
            "policy",
            "base_model",
        }
        assert all(one["presented_first"] in ("a", "b") for one in by_lee)


def test_nothing_to_ask_for_is_one_error(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    deliver(home, [row(prompt="another's", comparison_id="c8")], "other")
    with pytest.raises(InputError, match="nothing to ask for"):
        request(home, n_proposals=0, n=5)


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 1"):
        RequestConfig(source="s", random_share=0.9, gold_share=0.2)

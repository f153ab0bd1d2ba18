"""The stage: what goes in, what stands in its tables, and what is done about flagged annotators."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from data_contracts.records import AGGREGATED, ANNOTATOR_RELIABILITY, FLAG
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.quality.aggregation.aggregation import AggregationConfig, aggregate_judgments
from tests.tasks.deliveries import SHARED, deliver, deliver_files, needs_llmfao, row, swapped

AGGREGATORS = ("majority", "dawid_skene", "bradley_terry")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def aggregate(home: Home, **settings: Any) -> Artifact:
    return aggregate_judgments(home, AggregationConfig(**settings), snapshot=take_snapshot(home, SnapshotConfig()).artifact).artifact


def read(artifact: Artifact, name: str = "aggregated") -> dict[str, dict[str, Any]]:
    return {next(iter(one.values())): one for one in pq.read_table(artifact.file(f"{name}.parquet")).to_pylist()}


def crowd(n: int = 40) -> list[dict[str, Any]]:
    """Three who agree and one who always takes what stands first, on `n` comparisons with the better response in either place."""
    rows = []
    for i in range(n):
        better, first = "ab"[i % 2], "ab"[i // 2 % 2]
        verdicts = {"ann": better, "ben": better, "cat": better, "left": first}
        about = {"prompt": f"p{i}", "comparison_id": i, "presented_first": first, "model_a": "m", "model_b": "n"}
        rows += [row(verdict, annotator_id=name, **about) for name, verdict in verdicts.items()]
    return rows


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_the_tables_are_the_records_and_add_up(home: Home, aggregator: str) -> None:
    deliver(home, crowd())
    artifact = aggregate(home, aggregator=aggregator)
    for name, kind in (("aggregated", AGGREGATED), ("annotator_reliability", ANNOTATOR_RELIABILITY), ("flagged_annotators", FLAG)):
        assert pq.read_schema(artifact.file(f"{name}.parquet")).equals(kind.schema)
    found = read(artifact)
    assert {one["n_judgments"] for one in found.values()} == {4}
    for one in found.values():
        assert sum(one[f"probability_{name}"] for name in ("a", "b", "tie")) == pytest.approx(1)
        assert (one["probability_a"] > one["probability_b"]) == (int(one["comparison_id"].partition("/")[2]) % 2 == 0)
    people = read(artifact, "annotator_reliability")
    assert max(people, key=lambda name: -people[name]["reliability"]) == "left"
    flagged = pq.read_table(artifact.file("flagged_annotators.parquet")).to_pylist()
    assert ("left", "one_side", 1.0, "report") in [(one["annotator_id"], one["rule"], one["figure"], one["action"]) for one in flagged]
    assert {one["annotator_id"] for one in flagged} == {"left"}
    headline = artifact.manifest.headline
    assert (headline["comparisons"], headline["judgments_counted"], headline["annotators"]) == (40, 160, 4)
    assert (headline["flagged_annotators"], headline["flagged_judgments"], headline["flagged_action"]) == (1, 40, "report")


def test_flagged_annotators_count_in_full_less_or_not_at_all(home: Home) -> None:
    deliver(home, crowd())
    shares = {}
    for policy in ("report", "down_weight", "exclude"):
        artifact = aggregate(home, aggregator="majority", flagged=policy, flagged_weight=0.5)
        found = read(artifact)["export/1"]  # better is b, and a stood first
        shares[policy] = (found["probability_b"], found["n_judgments"], found["weight"])
        assert {one["action"] for one in read(artifact, "flagged_annotators").values()} == {policy}
        assert read(artifact, "annotator_reliability")["left"]["weight"] == {"report": 1, "down_weight": 0.5, "exclude": 0}[policy]
    assert shares == {"report": (3 / 4, 4, 4.0), "down_weight": (3 / 3.5, 4, 3.5), "exclude": (1.0, 3, 3.0)}


def test_a_comparison_that_only_excluded_annotators_judged_has_no_judgment_left(home: Home) -> None:
    deliver(home, [*crowd(), row(prompt="alone", comparison_id="alone", annotator_id="left", presented_first="a")])
    found = read(aggregate(home, aggregator="majority", flagged="exclude"))["export/alone"]
    assert (found["n_judgments"], found["weight"], found["probability_a"]) == (0, 0.0, pytest.approx(1 / 3))


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_judgments_of_nobody_known_count_and_have_no_row(home: Home, aggregator: str) -> None:
    deliver(home, [row(prompt=f"p{i}") for i in range(3) for _ in range(3)] + [row("b", prompt="p0", annotator_id="kim")])
    artifact = aggregate(home, aggregator=aggregator)
    assert set(read(artifact, "annotator_reliability")) == {"kim"}
    assert sorted(one["n_judgments"] for one in read(artifact).values()) == [3, 3, 4]
    assert all(one["probability_a"] > one["probability_b"] for one in read(artifact).values())


def test_models_judge_only_where_the_recipe_says_so(home: Home) -> None:
    judged = [row("b", comparison_id=number, annotator_kind="model") for number in (1, 2)]
    deliver(home, [row("a", comparison_id=1), *judged])
    assert [one["n_judgments"] for one in read(aggregate(home)).values()] == [1]
    both = aggregate(home, annotators=("human", "model"))
    assert [one["n_judgments"] for one in read(both).values()] == [2, 1]


def test_the_order_of_delivery_leaves_no_trace_and_sides_only_turn(tmp_path: Path) -> None:
    rows = [{name: value for name, value in one.items() if name != "comparison_id"} for one in crowd()]
    digests: dict[str, set[str]] = {name: set() for name in AGGREGATORS}
    for number, delivered in enumerate((rows, list(reversed(rows)), [swapped(one) if i % 3 else one for i, one in enumerate(rows)])):
        other = Home(tmp_path / str(number))
        deliver(other, delivered)
        for name, found in digests.items():
            found.add(aggregate(other, aggregator=name).digest)
    assert [len(found) for found in digests.values()] == [1, 1, 1]


def test_nothing_to_aggregate_gives_empty_tables(home: Home) -> None:
    deliver(home, [row(annotator_kind="model")])
    for aggregator in AGGREGATORS:
        artifact = aggregate(home, aggregator=aggregator)
        assert [len(read(artifact, name)) for name in ("aggregated", "annotator_reliability", "flagged_annotators")] == [0, 0, 0]


@needs_llmfao
@pytest.mark.slow
def test_real_llmfao_agrees_with_the_majority_where_that_is_clear(home: Home) -> None:
    """Every model's likelier side is the majority's wherever it leads by three votes or more."""
    deliver_files(home, SHARED / "llmfao", "llmfao", "llmfao")
    found = {name: read(aggregate(home, aggregator=name)) for name in AGGREGATORS}
    lead = {key: (one["probability_a"] - one["probability_b"]) * one["n_judgments"] for key, one in found["majority"].items()}
    clear = [key for key, votes in lead.items() if abs(votes) > 2.5]
    assert len(clear) > 300
    for name in AGGREGATORS[1:]:
        same = [(found[name][key]["probability_a"] > found[name][key]["probability_b"]) == (lead[key] > 0) for key in clear]
        assert sum(same) / len(same) > 0.99
    people: Sequence[dict[str, Any]] = list(read(aggregate(home), "annotator_reliability").values())
    assert len(people) == 124
    assert all(one["low"] < one["reliability"] < one["high"] for one in people)

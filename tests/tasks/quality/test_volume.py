"""How much there is of every slice, counted by hand, and what is new."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from tasks.duplicates.duplicates import DuplicatesConfig, find_duplicates
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.quality.quality import measure_quality
from tests.tasks.deliveries import deliver, row
from tests.tasks.quality.measuring import CONFIG, figures, measured, vote


def value(part: dict[str, dict[str, Any]], name: str) -> float | None:
    found: float | None = part[name]["value"]
    return found


def test_judgments_comparisons_and_annotators_by_slice() -> None:
    """Six judgments on three comparisons; kim gave three of them, nobody known gave one."""
    people = [("kim", 1), ("lee", 1), ("kim", 2), ("lee", 2), ("kim", 3), (None, 3)]
    told = measured([vote("a", who, number, slice="x" if number < 3 else "y") for who, number in people])
    overall = figures(told)
    assert [value(overall, name) for name in ("judgments", "comparisons", "annotators", "largest_annotator_share")] == [6, 3, 2, 0.5]
    other = figures(told, "domain", "y")
    assert [value(other, name) for name in ("judgments", "comparisons", "annotators", "largest_annotator_share")] == [2, 1, 1, 0.5]


def test_without_annotators_nobody_has_the_largest_share() -> None:
    overall = figures(measured([vote("a", None, 1), vote("b", None, 1)]))
    assert value(overall, "annotators") == 0
    assert value(overall, "largest_annotator_share") is None


def quality_of(home: Home, before: Artifact | None) -> tuple[Artifact, Artifact]:
    snapshot = take_snapshot(home, SnapshotConfig()).artifact
    duplicates = find_duplicates(home, DuplicatesConfig(), snapshot=snapshot).artifact
    return snapshot, measure_quality(home, CONFIG, snapshot=snapshot, duplicates=duplicates, before=before).artifact


def test_new_is_what_later_batches_brought_corrections_included(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first = [
        row("a", annotator_id=who, comparison_id=n, judgment_id=f"{n}{who}", response_a=f"r{n}") for n in (1, 2) for who in ("kim", "lee")
    ]
    deliver(home, first)
    before, everything = quality_of(home, None)
    assert value(figures(everything, "new", "new"), "judgments") == 4
    changed = first[0] | {"verdict": "b", "revision": 1}
    deliver(home, [*first[1:], changed, row("a", annotator_id="kim", comparison_id=3, response_a="r3"), row("c")])
    after, told = quality_of(home, before)
    new = figures(told, "new", "new")
    assert value(new, "judgments") == 2
    assert value(new, "quarantined_share") == 1 / 3, "three of the six rows were known"
    assert value(figures(told), "judgments") == 5
    assert value(figures(told), "quarantined_share") == 1 / 7
    _, nothing_new = quality_of(home, after)
    assert {
        part["slice_kind"] for part in pq.read_table(nothing_new.file("quality.parquet")).to_pylist() if part["figure"] == "judgments"
    }.isdisjoint({"new", "new_domain", "new_source"})

"""Compaction changes where rows are read and nothing of what is read: the batches themselves are the oracle."""

import random
from pathlib import Path
from typing import Any

import pytest

from data_contracts import compaction
from data_contracts.artifact_store import Artifact
from data_contracts.compaction import segments_of
from data_contracts.feedback_lake import BATCH, COMPARISONS, JUDGMENTS, FeedbackLake, Pinned
from data_contracts.lake_views import batches_that_matter, count_current, current_comparisons, current_judgments
from data_contracts.manifest import Identity
from data_contracts.parquet import write_records
from data_contracts.records import COMPARISON, JUDGMENT
from tests.data_contracts.test_lake_views import comparison, judgment


@pytest.fixture(autouse=True)
def _segments_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "BATCHES_PER_SEGMENT", 3)


def land(lake: FeedbackLake, name: str, judgments: list[dict[str, Any]], comparisons: list[dict[str, Any]]) -> Artifact:
    def write(directory: Path) -> dict[str, int]:
        write_records(JUDGMENT, JUDGMENT.table(judgments), directory / JUDGMENTS)
        write_records(COMPARISON, COMPARISON.table(comparisons), directory / COMPARISONS)
        (directory / "delivery.json").write_text(name)
        return {"rows_accepted": len(judgments)}

    return lake.land(Identity(kind=BATCH, code_version=name), write).artifact


@pytest.fixture
def lake(tmp_path: Path) -> FeedbackLake:
    """Ten batches with corrections, retractions and late texts, from two sources."""
    lake, drawn = FeedbackLake(tmp_path / "lake"), random.Random(0)
    for number in range(10):
        source = {"source": drawn.choice("st")}
        some = [judgment(f"j{drawn.randrange(8)}", number, drawn.choice("ab"), drawn.choice(["assert", "retract"])) for _ in range(2)]
        judged = {one["judgment_id"]: one | source for one in some}
        pairs = [comparison(f"c{drawn.randrange(4)}", drawn.choice([None, "x"])) | source]
        land(lake, str(number), list(judged.values()), pairs)
    return lake


def one_by_one(pinned: Pinned) -> Pinned:
    return pinned._replace(segments=())


@pytest.mark.parametrize("sources", [None, ["s"], ["t"]])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 10])
def test_the_views_say_the_same_with_and_without_segments(lake: FeedbackLake, n: int, sources: list[str] | None) -> None:
    pinned = lake.readable(lake.accepted()[:n], sources)
    assert pinned.segments
    for view in (current_judgments, current_comparisons, count_current):
        assert view(*pinned) == view(*one_by_one(pinned))
    if sources is not None:
        assert batches_that_matter(pinned.batches, sources, pinned.segments) == batches_that_matter(pinned.batches, sources)


def test_batches_are_put_together_as_they_come_and_stay(lake: FeedbackLake) -> None:
    batches = lake.accepted()
    held = [sorted(segment.batches) for segment in segments_of(lake.root, batches)]
    assert sorted(held) == sorted(sorted(batch.path.name for batch in batches[start : start + 3]) for start in (0, 3, 6))
    assert len(lake.batches()) == 10


def test_a_large_batch_stays_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = FeedbackLake(tmp_path / "lake")
    first = land(lake, "0", [judgment("j", 0, "a")], [comparison("c", "x")])
    monkeypatch.setattr(compaction, "SMALL", sum(entry.size for entry in first.manifest.files) + 1000)
    many = [judgment(f"{random.Random(i).random()}", 0, "a") for i in range(2000)]
    land(lake, "1", many, [])
    for number in "23":
        land(lake, number, [judgment(f"j{number}", 0, "a")], [])
    (segment,) = segments_of(lake.root, lake.accepted())
    large = max(lake.accepted(), key=lambda batch: batch.manifest.headline["rows_accepted"] or 0)
    assert len(segment.batches) == 3
    assert large.path.name not in segment.batches


def test_a_segment_whose_batch_was_redacted_no_longer_counts_and_is_replaced(lake: FeedbackLake) -> None:
    batch = lake.accepted()[0]
    redacted = batch.manifest.model_dump() | {
        "redactions": [{"tombstone": "t", "files": [entry.model_dump() | {"size": 1} for entry in batch.manifest.files], "rows": {}}]
    }
    (batch.path / "manifest.json").chmod(0o644)
    (batch.path / "manifest.json").write_text(type(batch.manifest).model_validate(redacted).model_dump_json())
    stale = [segment for segment in compaction._every_segment(lake.root) if batch.path.name in segment.manifest.model_dump_json()]
    assert len(stale) == 1
    assert not any(batch.path.name in segment.batches for segment in segments_of(lake.root, lake.accepted()))
    land(lake, "10", [judgment("new", 0, "a")], [])
    assert not stale[0].path.exists()
    assert any(batch.path.name in segment.batches for segment in segments_of(lake.root, lake.accepted()))

"""Which batches a snapshot pins."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.errors import InputError, IntegrityError
from data_contracts.feedback_lake import FeedbackLake, ingest_time
from data_contracts.home import Home
from data_contracts.lake_views import current_comparisons, current_judgments
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tests.tasks.deliveries import deliver, row


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def backdate(batch: Artifact, days: int) -> None:
    """Let a batch have landed some days earlier; the time is part of neither its id nor its digest."""
    path = batch.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["created_at"] = (datetime.fromisoformat(manifest["created_at"]) - timedelta(days=days)).isoformat()
    path.chmod(0o644)
    path.write_text(json.dumps(manifest))


def test_as_of_a_moment_only_what_had_landed_counts(home: Home) -> None:
    deliver(home, [row("a", judgment_id="j", comparison_id=1)])
    (first,) = FeedbackLake(home.lake).batches()
    backdate(first, days=2)
    deliver(home, [row("b", judgment_id="j", comparison_id=1), row("a", judgment_id="k", comparison_id=1)])
    lake = FeedbackLake(home.lake)
    now = take_snapshot(home, SnapshotConfig()).artifact
    then = take_snapshot(home, SnapshotConfig(as_of=datetime.now(UTC) - timedelta(days=1))).artifact
    assert [judgment["verdict"] for judgment in current_judgments(*lake.pinned(then)).to_pylist()] == ["a"]
    assert sorted(judgment["verdict"] for judgment in current_judgments(*lake.pinned(now)).to_pylist()) == ["a", "b"]
    assert (now.manifest.headline["batches"], now.manifest.headline["judgments"]) == (2, 2)
    assert [ref.id for ref in now.manifest.identity.inputs] == [batch.id for batch in lake.batches()]
    assert ingest_time(lake.batches()[0]) < ingest_time(lake.batches()[1])


def test_the_same_batches_give_the_same_snapshot(home: Home) -> None:
    deliver(home, [row()])
    first = take_snapshot(home, SnapshotConfig())
    deliver(home, [row(), {"op": "retract"}])  # nothing new
    later = take_snapshot(home, SnapshotConfig(as_of=datetime(2999, 1, 1)))  # taken to be UTC
    assert later.reused
    assert later.artifact.id == first.artifact.id
    other = Home(home.root / "other")
    deliver(other, [row()])
    backdate(FeedbackLake(other.lake).batches()[0], days=3)
    assert take_snapshot(other, SnapshotConfig()).artifact.digest == first.artifact.digest


def test_an_empty_data_set_is_one_error(home: Home) -> None:
    with pytest.raises(InputError, match="empty"):
        take_snapshot(home, SnapshotConfig())
    deliver(home, [row(judgment_id="j")])
    with pytest.raises(InputError, match=r"by 2000.*the first batch landed at 2"):
        take_snapshot(home, SnapshotConfig(as_of=datetime(2000, 1, 1, tzinfo=UTC)))
    with pytest.raises(InputError, match=r"is of exprot \(snapshot.sources\): the lake's sources are export"):
        take_snapshot(home, SnapshotConfig(sources=("exprot",)))
    deliver(home, [{"op": "retract", "judgment_id": "j"}])
    with pytest.raises(InputError, match="no judgment that stands"):
        take_snapshot(home, SnapshotConfig())


def test_a_batch_that_is_gone_is_an_integrity_error(home: Home) -> None:
    deliver(home, [row()])
    snapshot = take_snapshot(home, SnapshotConfig()).artifact
    shutil.rmtree(FeedbackLake(home.lake).batches()[0].path)
    with pytest.raises(IntegrityError, match="lacks batches"):
        FeedbackLake(home.lake).pinned(snapshot)


def test_only_the_sources_asked_for_count_and_others_change_nothing(home: Home) -> None:
    deliver(home, [row("a", annotator_id="kim")], name="real")
    before = take_snapshot(home, SnapshotConfig(sources=("real",)))
    deliver(home, [row("b", annotator_id="robot"), row("b", prompt="Another?")], name="other")
    again = take_snapshot(home, SnapshotConfig(sources=("real",)))
    assert again.reused
    assert again.artifact.id == before.artifact.id
    pinned = FeedbackLake(home.lake).pinned(again.artifact)
    assert [judgment["annotator_id"] for judgment in current_judgments(*pinned).to_pylist()] == ["kim"]
    assert current_comparisons(*pinned).num_rows == 1
    both = FeedbackLake(home.lake).pinned(take_snapshot(home, SnapshotConfig(sources=("other",))).artifact)
    assert current_comparisons(*both).num_rows == 2, "a comparison that another source delivered first is there, too"

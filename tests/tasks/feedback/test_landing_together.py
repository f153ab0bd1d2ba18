"""Ingests that are killed, and ingests at the same time: the lake ends as if each had been alone and unbroken."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_contracts.artifact_store import verify
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from tests.tasks.deliveries import comparisons, deliver_files, judgments, row, write_rows

pytestmark = pytest.mark.slow

INGEST = """
import sys
from pathlib import Path
from data_contracts.home import Home
from tasks.feedback.ingest import IngestConfig, SourceConfig, ingest
source = SourceConfig(name="export", format="native", path=sys.argv[2])
ingest(Home(Path(sys.argv[1])), IngestConfig(sources=(source,), check_contracts=False))
"""


def start(home: Home, path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", INGEST, str(home.root), str(path)])


def rows(first: int, last: int) -> list[dict[str, object]]:
    return [
        row("ab"[i % 2], response_a=f"answer {i // 3}", annotator_id=f"annotator-{i % 7}", judgment_id=f"j{i}") for i in range(first, last)
    ]


def test_an_ingest_that_is_killed_again_and_again_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", rows(0, 30_000))
    unbroken, killed = Home(tmp_path / "unbroken"), Home(tmp_path / "killed")
    began = time.monotonic()
    assert start(unbroken, path).wait(300) == 0
    needed, chance = time.monotonic() - began, random.Random(0)
    for _ in range(8):
        process = start(killed, path)
        time.sleep(needed * chance.uniform(0.3, 1.0))
        process.kill()
        process.wait(60)
    assert start(killed, path).wait(300) == 0
    (batch,), (expected,) = FeedbackLake(killed.lake).batches(), FeedbackLake(unbroken.lake).batches()
    assert (batch.id, batch.digest) == (expected.id, expected.digest)
    assert verify(batch) == []
    assert not list((killed.lake / ".staging").glob("*"))


def test_two_ingests_at_once_count_nothing_twice(tmp_path: Path) -> None:
    """Both bring rows 10,000 to 20,000, one of them with a correction."""
    one, other = rows(0, 20_000), rows(10_000, 30_000)
    other[0] = {**other[0], "verdict": "tie"}
    paths = [write_rows(tmp_path / name / "rows.jsonl", found) for name, found in (("one", one), ("other", other))]
    after_another, at_once = Home(tmp_path / "after_another"), Home(tmp_path / "at_once")
    for path in paths:
        deliver_files(after_another, path)
    processes = [start(at_once, path) for path in paths]
    assert [process.wait(300) for process in processes] == [0, 0]
    batches = FeedbackLake(at_once.lake).batches()
    counts = [{name: batch.manifest.headline[name] for name in ("rows_read", "rows_accepted", "rows_known")} for batch in batches]
    assert sum(int(count["rows_accepted"] or 0) for count in counts) == 30_001, "every row once, and the correction"
    assert len(judgments(at_once)) == 30_000
    assert len(comparisons(at_once)) == len(comparisons(after_another))

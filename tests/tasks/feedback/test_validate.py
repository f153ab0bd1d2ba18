"""Contracts on what is landing and on what the lake holds: good data passes, a broken critical contract stops batch or night."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import StageError
from data_contracts.feedback_lake import JUDGMENTS, FeedbackLake
from data_contracts.home import Home
from tasks.feedback import ingest as ingest_module
from tasks.feedback.ingest import IngestConfig, SourceConfig, ingest
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.feedback.validate import ValidateConfig, validate
from tests.tasks.deliveries import Rows, accepted, deliver, row, write_rows

WARNINGS = {("annotator_id", "warning"): 1, ("presented_first", "warning"): 1, ("seconds_spent", "warning"): 1}


@pytest.fixture
def rows() -> Rows:
    return [row(annotator_id="kim", presented_first="a", seconds_spent=5), row("b", response_a="", seconds_spent=0.1)]


@pytest.fixture
def home(tmp_path: Path, rows: Rows) -> Home:
    home = Home(tmp_path / "home")
    deliver(home, rows)
    return home


def failed(path: Path) -> dict[tuple[str, str], int]:
    return {(one["column"], one["severity"]): one["n_unexpected"] for one in pq.read_table(path).to_pylist() if not one["success"]}


def test_a_good_lake_keeps_its_contracts_and_tells_its_warnings(home: Home) -> None:
    artifact = validate(home, ValidateConfig(), snapshot=take_snapshot(home, SnapshotConfig()).artifact).artifact
    assert failed(artifact.file("expectations.parquet")) == WARNINGS
    n = pq.read_table(artifact.file("expectations.parquet")).num_rows
    assert artifact.manifest.headline == {"expectations": n, "failed_warnings": 3}


def test_a_batch_is_checked_before_it_lands(tmp_path: Path, rows: Rows) -> None:
    batch = landed(tmp_path, rows)
    assert failed(batch.path / "expectations.parquet") == WARNINGS
    assert batch.manifest.headline["failed_warnings"] == 3
    assert (batch.path / "checkpoint.json").exists()


def test_a_later_batch_may_judge_what_an_earlier_one_told(tmp_path: Path, rows: Rows) -> None:
    landed(tmp_path, rows)
    batch = landed(tmp_path, [*rows, row("b", annotator_id="lee", presented_first="a", seconds_spent=5)])
    assert batch.manifest.headline["judgments"] == 1
    assert batch.manifest.headline["comparisons"] == 0
    assert batch.manifest.headline["failed_warnings"] == 0


def test_a_batch_that_breaks_a_critical_contract_does_not_land(tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of our own is planted where the batch is written: no source row gets so far."""
    write = ingest_module._write_new

    def twice(*args: Any) -> int:
        count = write(*args)
        if (path := args[-1]).name == JUDGMENTS:
            written = pq.read_table(path)
            pq.write_table(pa.concat_tables([written, written]), path)
        return count

    monkeypatch.setattr(ingest_module, "_write_new", twice)
    with pytest.raises(StageError, match=r"judgment\.judgment_id,revision ExpectCompoundColumnsToBeUnique \(4 rows\)"):
        landed(tmp_path, rows)
    assert FeedbackLake(Home(tmp_path / "home").lake).batches() == []


def landed(tmp_path: Path, rows: Rows) -> Any:
    source = SourceConfig(name="export", format="native", path=str(write_rows(tmp_path / "rows.jsonl", rows)))
    return ingest(Home(tmp_path / "home"), IngestConfig(sources=(source,))).artifact


@pytest.mark.parametrize(
    ("file", "change", "broken"),
    [
        ("judgments.parquet", lambda rows: [*rows, *rows], r"judgment\.judgment_id,revision ExpectCompoundColumnsToBeUnique \(4 rows\)"),
        ("comparisons.parquet", lambda rows: rows[:1], r"judgment\.comparison_known ExpectColumnValuesToBeInSet \(1 rows\)"),
    ],
    ids=["twice", "orphan"],
)
def test_a_broken_critical_contract_stops_the_night(home: Home, file: str, change: Any, broken: str) -> None:
    (batch,) = accepted(home)
    table = pq.read_table(batch / file)
    (batch / file).chmod(0o644)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), batch / file)
    with pytest.raises(StageError, match=broken):
        validate(home, ValidateConfig(), snapshot=take_snapshot(home, SnapshotConfig()).artifact)
    assert not list((home.artifacts.root / "validation").glob("*"))

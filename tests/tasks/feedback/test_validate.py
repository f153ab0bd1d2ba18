"""Contracts on what the lake holds: good data passes, and a broken critical contract stops the night."""

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import StageError
from data_contracts.home import Home
from data_contracts.lake_views import current_comparisons, current_judgments
from tasks.feedback import validate as validate_module
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.feedback.validate import ValidateConfig, check_records, validate
from tests.tasks.deliveries import accepted, deliver, row


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    deliver(home, [row(annotator_id="kim", presented_first="a", seconds_spent=5), row("b", response_a="", seconds_spent=0.1)])
    return home


def test_a_good_lake_keeps_its_contracts_and_tells_its_warnings(home: Home) -> None:
    artifact = validate(home, ValidateConfig(), snapshot=take_snapshot(home, SnapshotConfig()).artifact).artifact
    rows = pq.read_table(artifact.file("expectations.parquet")).to_pylist()
    failed = {(one["column"], one["severity"]): one["n_unexpected"] for one in rows if not one["success"]}
    assert failed == {("annotator_id", "warning"): 1, ("presented_first", "warning"): 1, ("seconds_spent", "warning"): 1}
    assert artifact.manifest.headline == {"expectations": len(rows), "failed_warnings": 3}


def test_a_judgment_without_its_comparison_is_found(home: Home) -> None:
    comparisons, judgments = (pl.DataFrame(view(accepted(home))) for view in (current_comparisons, current_judgments))
    orphans = [one for one in check_records(comparisons.head(1), judgments) if not one.success and one.severity == "critical"]
    assert [(one.column, one.n_unexpected) for one in orphans] == [("comparison_known", 1)]


def test_a_broken_critical_contract_stops_the_night(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(*args: Any) -> Any:
        rows = pl.DataFrame(current_judgments(*args))
        return pl.concat([rows, rows]).to_arrow()

    monkeypatch.setattr(validate_module, "current_judgments", twice)
    with pytest.raises(StageError, match=r"judgment\.judgment_id,revision ExpectCompoundColumnsToBeUnique \(4 rows\)"):
        validate(home, ValidateConfig(), snapshot=take_snapshot(home, SnapshotConfig()).artifact)
    assert not list((home.artifacts.root / "validation").glob("*"))

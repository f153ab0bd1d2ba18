"""Small deliveries of feedback for tests, and what they leave in the lake."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.lake_views import current_comparisons, current_judgments
from tasks.feedback.ingest import IngestConfig, SourceConfig, ingest

SHARED = Path(__file__).parents[2] / "../shared/data"
needs_llmfao = pytest.mark.skipif(not (SHARED / "llmfao").exists(), reason="../shared/data/llmfao is not there")
needs_pandalm = pytest.mark.skipif(not (SHARED / "pandalm").exists(), reason="../shared/data/pandalm is not there")
needs_textbook = pytest.mark.skipif(
    not (SHARED / "krippendorff_textbook").exists(), reason="../shared/data/krippendorff_textbook is not there"
)

Rows = Sequence[dict[str, Any]]


def row(verdict: str = "a", **values: Any) -> dict[str, Any]:
    """A native row; without further values an anonymous judgment of one and the same pair."""
    return {"prompt": "Name a colour.", "response_a": "Blue.", "response_b": "Seven.", "verdict": verdict} | values


def swapped(values: dict[str, Any]) -> dict[str, Any]:
    """The same row with its pair the other way round."""
    other = {"a": "b", "b": "a"}
    turned = values | {"response_a": values["response_b"], "response_b": values["response_a"]}
    for name in ("verdict", "presented_first", "gold_verdict"):
        if values.get(name):
            turned[name] = other.get(values[name], values[name])
    if "model_a" in values:
        turned |= {"model_a": values["model_b"], "model_b": values["model_a"]}
    return turned


def write_rows(path: Path, rows: Rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(values) + "\n" for values in rows))
    return path


def deliver_files(home: Home, path: Path, name: str = "export", form: str = "native") -> Artifact:
    """Ingest a file or folder as one source, without a check of its contracts, which takes a second; that has tests of its own."""
    source = SourceConfig.model_validate({"name": name, "format": form, "path": str(path)})
    config = IngestConfig(sources=(source,), check_contracts=False)
    return ingest(home, config).artifact


def deliver(home: Home, rows: Rows, name: str = "export") -> dict[str, Any]:
    """Ingest rows as the file of one source, and give the batch's headline."""
    return dict(deliver_files(home, write_rows(home.root / "in" / "rows.jsonl", rows), name).manifest.headline)


def judgments(home: Home) -> list[dict[str, Any]]:
    """What the lake holds to be current."""
    found: list[dict[str, Any]] = current_judgments(accepted(home)).to_pylist()
    return found


def comparisons(home: Home) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = current_comparisons(accepted(home)).to_pylist()
    return found


def accepted(home: Home) -> list[Path]:
    return [batch.path for batch in FeedbackLake(home.lake).accepted()]

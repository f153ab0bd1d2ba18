"""`overnight metrics`: which figure belongs to which step, by hand; and that TensorBoard's own reader finds them again."""

import json
import sys
from pathlib import Path

import pytest
import torch

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from data_contracts.manifest import Identity
from flows.cli import main
from flows.metrics import FILE, rows

LOGGED = [
    {"step": 1, "loss": 0.5, "grad_norm": None},
    {"step": 2, "loss": 0.25, "grad_norm": 2.0},
    {"epoch": 1.0, "validation_log_loss": 0.3, "tie_parameter": [0.1, 0.2]},
]


def stored(root: Path, name: str = FILE) -> Artifact:
    def write(directory: Path) -> dict[str, int]:
        (directory / name).write_text("".join(json.dumps(row) + "\n" for row in LOGGED))
        return {}

    return Home(root).artifacts.make(Identity(kind="reward_model", code_version="test", config={"file": name}), write).artifact


def test_a_figure_belongs_to_its_update_or_step_or_to_the_one_before(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("".join(json.dumps(row) + "\n" for row in [*LOGGED, {"update": 7, "score": -1}]))
    assert list(rows(tmp_path / FILE)) == [
        (1, {"loss": 0.5}),
        (2, {"loss": 0.25, "grad_norm": 2.0}),
        (2, {"epoch": 1.0, "validation_log_loss": 0.3, "tie_parameter/0": 0.1, "tie_parameter/1": 0.2}),
        (7, {"score": -1}),
    ]


def test_tensorboard_reads_back_what_was_logged(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed")
    artifact = stored(tmp_path / "home")
    assert main(["metrics", artifact.id[:8], "--home", str(tmp_path / "home"), "--tensorboard", str(tmp_path / "runs")]) == 0
    read = accumulator.EventAccumulator(str(tmp_path / "runs" / f"reward_model-{artifact.short_id}"))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
    assert [event.step for event in read.Scalars("validation_log_loss")] == [2]


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [("model.json", ["--tensorboard", "runs"], "logged no metrics"), (FILE, [], "--tensorboard DIR, or --mlflow URI")],
)
def test_what_cannot_be_handed_over_is_one_message(
    file: str, options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = stored(tmp_path, file)
    assert main(["metrics", artifact.id[:8], "--home", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_library_that_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.utils, "tensorboard", raising=False)  # imported by another test, where it is installed
    for package in ("torch.utils.tensorboard", "tensorboardX"):
        monkeypatch.setitem(sys.modules, package, None)
    artifact = stored(tmp_path)
    assert main(["metrics", artifact.id[:8], "--home", str(tmp_path), "--tensorboard", str(tmp_path / "runs")]) == 2
    assert "pip install tensorboard" in capsys.readouterr().err

"""Checkpoints. Oracle: a run that was never interrupted."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from data_contracts.errors import StorageError
from models.checkpoint import Checkpoints
from models.optimization import adamw, set_learning_rate


class Tied(nn.Module):
    """Two layers that share a weight, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return self.second(self.first(x).tanh() + torch.randn(x.shape))


class Run:
    """A training that draws random numbers as it goes."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)
        self.model = Tied()
        self.optimizer = adamw(self.model, weight_decay=0.1)
        self.best: dict[str, torch.Tensor] = {"x": torch.full((2,), float(seed))}
        self.parts = {"model": self.model, "optimizer": self.optimizer, "best": self.best}

    def steps(self, count: int) -> "Run":
        for _ in range(count):
            set_learning_rate(self.optimizer, 0.1 / (1 + float(self.model.count)))
            self.model(torch.ones(3, 4)).square().sum().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        return self

    def weights(self) -> list[torch.Tensor]:
        return [tensor.detach().clone() for tensor in self.model.state_dict().values()]


def test_resumed_equals_unbroken_bit_for_bit(tmp_path: Path) -> None:
    unbroken = Run(0).steps(3)
    Checkpoints(tmp_path, "id").save(3, unbroken.parts, {"loss": 0.1, "list": [1, "a", None]})
    unbroken.steps(4)
    resumed = Run(1).steps(2)
    assert Checkpoints(tmp_path, "id").restore(resumed.parts) == (3, {"loss": 0.1, "list": [1, "a", None]})
    assert resumed.best["x"].tolist() == [0.0, 0.0]
    resumed.steps(4)
    assert all(torch.equal(*pair) for pair in zip(unbroken.weights(), resumed.weights(), strict=True))
    assert resumed.model.first.weight is resumed.model.second.weight


def test_nothing_to_restore(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, "id").restore(Run(0).parts) is None


def test_last_two_are_kept_and_a_damaged_one_falls_back(tmp_path: Path) -> None:
    run, checkpoints = Run(0), Checkpoints(tmp_path, "id")
    for step in (9, 10, 11):
        checkpoints.save(step, run.parts, {})
    newest = tmp_path / "checkpoints" / "step-0000000011"
    assert sorted(path.name for path in newest.parent.iterdir()) == ["step-0000000010", newest.name]
    (newest / "tensors.safetensors").write_bytes(b"cut")
    found = checkpoints.restore(run.parts)
    assert found is not None
    assert found[0] == 10
    (newest / "state.json").unlink()
    assert checkpoints.restore(run.parts) == found


def test_a_kill_while_saving_leaves_the_last_one(tmp_path: Path) -> None:
    run, checkpoints = Run(0), Checkpoints(tmp_path, "id")
    checkpoints.save(1, run.parts, {})
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "step-0000000001", folder / ".aside-1")
    (folder / ".aside-1" / "state.json").unlink()
    found = checkpoints.restore(run.parts)
    assert found is not None
    assert found[0] == 1
    checkpoints.save(2, run.parts, {})
    assert sorted(path.name for path in folder.iterdir()) == ["step-0000000001", "step-0000000002"]


def test_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "one").save(1, Run(0).parts, {})
    with pytest.raises(StorageError, match="another configuration"):
        Checkpoints(tmp_path, "two").restore(Run(0).parts)


def test_due_by_time_and_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("models.checkpoint.time.monotonic", lambda: now)
    checkpoints = Checkpoints(tmp_path, "id")
    assert not checkpoints.due()
    now += 2
    assert checkpoints.due()
    checkpoints.save(1, {}, {})
    assert not checkpoints.due()

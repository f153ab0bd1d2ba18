"""Processes that train together, on the CPU by gloo. Oracle: one process that does the same batches alone."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from data_contracts.artifact_store import Artifact
from data_contracts.errors import RecipeError, StageError
from data_contracts.home import Home
from data_contracts.manifest import Identity, list_files
from models.__main__ import _settle_torch
from models.configs import RewardModelConfig
from models.lifeline import alive, family
from models.reward.learner import Learner, accumulate_gradients
from models.reward.preference_data import in_groups
from models.reward.train_reward_model import run
from tasks.learning.training import train_reward_model
from tasks.learning.worker import launch, run_job, running
from tests.models.reward.test_learner import some_model, some_pairs, some_ranking
from tests.models.reward.test_train_reward_model import make_job, planted_rows

SETTINGS: dict[str, Any] = {"members": 2, "likelihood": "davidson", "epochs": 2, "learning_rate": 3e-4, "batch_size": 16}
GRADIENT_TOLERANCE = 1e-7
"""Of gradients in float64: sums in another order, and which responses share a row; Llama's norms round to float32 in between."""
TOLERANCE = 1e-4
"""Of losses, norms and weights of a run in float32: Adam makes more of the last digit where a gradient is nearly 0."""


def gradients_of_batches(directory: Path) -> list[list[float]]:
    """Of a batch of several groups, and of one that leaves all processes but one without anything to do; loss and accuracy first."""
    model = some_model(directory, 2)
    pairs, found = [*some_pairs(model, 7), *some_ranking(model)], []
    learner = Learner(model, RewardModelConfig(members=2, likelihood="rao_kupper"), pairs).double()
    for groups in (in_groups(pairs), in_groups(pairs[:1])):
        learner.zero_grad()
        figures = accumulate_gradients(learner, Accelerator(), groups, 64)
        gradient = torch.cat([p.grad.flatten() for p in learner.parameters() if p.grad is not None])
        found.append([figures["loss"], figures["accuracy"], *gradient.tolist()])
    return found


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.slow
def test_processes_come_to_the_gradient_of_the_whole_batch(chat_model: Path, tmp_path: Path) -> None:
    command = [*launch("tests.models.reward.gradient_rank", 2), str(chat_model), str(tmp_path)]
    with (tmp_path / "log").open("ab") as log, running(command, log.fileno(), tmp_path) as process:
        assert process.wait() == 0, (tmp_path / "log").read_text()
    alone = gradients_of_batches(chat_model)
    ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1]
    for found, expected in zip(ranks[0], alone, strict=True):
        assert found == pytest.approx(expected, abs=GRADIENT_TOLERANCE)


def as_artifact(home: Home, kind: str, folder: Path) -> Artifact:
    def copy(directory: Path) -> dict[str, int]:
        shutil.copytree(folder, directory, dirs_exist_ok=True)
        return {}

    return home.artifacts.make(Identity(kind=kind, code_version="test"), copy).artifact


@pytest.mark.slow
def test_a_recipe_that_asks_for_two_processes_gets_the_reward_model_of_one_also_after_a_kill(chat_model: Path, tmp_path: Path) -> None:
    jobs = []
    for name, processes in (("one", 1), ("killed", 2)):
        (tmp_path / name).mkdir()
        jobs.append(make_job(tmp_path / name, chat_model, planted_rows(1200, ties=0.1), processes=processes, **SETTINGS))
    one, killed = jobs
    run(one)
    home = Home(tmp_path / "home")
    inputs = {role: as_artifact(home, role, folder) for role, folder in killed.inputs.items()}
    two = train_reward_model(home, killed.config, **inputs).artifact.path
    metrics = [[json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()] for output in (one.output, two)]
    for expected, found in zip(*metrics, strict=True):
        assert found == {name: pytest.approx(value, abs=TOLERANCE) for name, value in expected.items()}
    weights = [load_file(output / "model" / "model.safetensors") for output in (one.output, two)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=TOLERANCE, rtol=0)

    def train(**options: Any) -> None:
        log = tmp_path / "killed.log"
        run_job("train_reward_model", killed.config, killed.inputs, killed.output, killed.work, log, processes=2, **options)

    processes: list[str] = []

    def kill_a_rank(_: Any) -> None:
        if not processes and any(killed.work.glob("checkpoints/step-*")):
            processes.extend(family(int((killed.work / "pid").read_text().partition(":")[0])))
            os.kill(int(processes[-1].partition(":")[0]), signal.SIGKILL)

    with pytest.raises(StageError, match="SIGKILL"):
        train(on_progress=kill_a_rank)
    assert len(processes) == 3  # the launcher and its ranks
    assert not any(map(alive, processes))
    train()
    assert list_files(killed.output) == list_files(two)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match=r"2 processes need a GPU each, and there are 1.*lower `processes`"):
        _settle_torch()


@pytest.mark.parametrize("name", ["ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"])
def test_a_model_over_several_processes_is_refused_and_not_ignored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(RecipeError, match=rf"{name} has no effect.*policy\.shard"):
        _settle_torch()

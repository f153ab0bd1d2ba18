"""PPO with models divided among processes, on the CPU by gloo. Oracle: one process that holds every model whole."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from data_contracts.errors import StageError
from data_contracts.manifest import list_files
from models.lifeline import family
from models.ppo.train_policy import run
from tasks.learning.worker import run_job
from tests.models.learning import make_job, ppo_config, write_inputs
from tests.models.ppo.test_ptx import with_corpus

TOLERANCE = 2e-5
"""Of figures and weights after three updates in float32: sums in another order. The weights move by fifty times as much."""
SETTINGS: dict[str, Any] = {
    "updates": 3,
    "checkpoint_every": 1,
    "validation_every": 1,
    "validation_prompts": 3,
    "ptx": {"batch_size": 3, "max_tokens": 32},
    "adam_epsilon": 1e-3,
}


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"value": "shared", "lora": {"rank": 4}}])
def test_divided_models_learn_what_whole_ones_learn_also_after_a_kill(
    changes: dict[str, Any], chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    inputs = with_corpus(tmp_path, write_inputs(tmp_path, chat_model))
    one = make_job(tmp_path / "one", ppo_config(**changes, **SETTINGS), inputs)
    two, killed = (
        make_job(tmp_path / name, ppo_config(processes=2, shard=True, **changes, **SETTINGS), inputs) for name in ("two", "killed")
    )

    def train(job: Any, **options: Any) -> Any:
        return run_job("train_policy", job.config, job.inputs, job.output, job.work, tmp_path / "log", processes=2, **options)

    expected, headline = dict(run(one)), train(two)
    expected["memory_estimate_gib"] = headline["memory_estimate_gib"]  # of a process's share
    assert headline == {name: pytest.approx(value, abs=TOLERANCE) for name, value in expected.items()}
    metrics = [[json.loads(line) for line in (job.output / "metrics.jsonl").read_text().splitlines()] for job in (one, two)]
    for alone, together in zip(*metrics, strict=True):
        assert together == {name: pytest.approx(value, abs=TOLERANCE, rel=TOLERANCE) for name, value in alone.items()}
    weights = [load_file(job.output / "model" / "model.safetensors") for job in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=TOLERANCE, rtol=0)
    assert "gathered" in (tmp_path / "log").read_text()  # the estimate of memory counts shares, and a whole model
    assert type(AutoModelForCausalLM.from_pretrained(two.output / "model")) is LlamaForCausalLM
    if changes:
        return  # what is killed goes on alike

    def kill_a_rank(_: Any) -> None:
        ranks = family(int((killed.work / "pid").read_text().partition(":")[0]))
        os.kill(int(ranks[-1].partition(":")[0]), signal.SIGKILL)

    with pytest.raises(StageError, match="SIGKILL"):
        train(killed, on_progress=kill_a_rank)
    assert train(killed) == headline
    assert list_files(killed.output) == list_files(two.output)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"processes": 1}, "set processes to 2 or more"),
        ({"rollout_batch_size": 6}, "a multiple of minibatch_size"),
        ({"minibatch_size": 3, "rollout_batch_size": 9}, "minibatch_size of processes"),
        ({"ptx": {"batch_size": 1}}, "each has a text"),
    ],
)
def test_batches_that_leave_a_process_without_a_pass_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ppo_config(**{"processes": 2, "shard": True, **changes})

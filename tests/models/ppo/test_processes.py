"""PPO in processes that train together, on the CPU by gloo. Oracle: one process that does the same batches alone."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from data_contracts.errors import StageError
from data_contracts.manifest import list_files
from models.lifeline import alive, family
from models.ppo.train_policy import run
from tasks.learning.worker import run_job
from tests.models.learning import make_job, ppo_config, write_inputs
from tests.models.ppo.test_ptx import with_corpus

TOLERANCE = 1e-3
"""Of figures and weights after three updates in float32: sums in another order, of which Adam makes more where a gradient is nearly 0."""
SETTINGS: dict[str, Any] = {
    "updates": 3,
    "checkpoint_every": 1,
    "validation_every": 1,
    "validation_prompts": 3,  # which two processes cannot share evenly
    "rewards": [{"kind": "reward_model"}, {"kind": "length_cap", "most": 2}],
    "value": "shared",
    "ptx": {"batch_size": 3, "max_tokens": 32},
    "adam_epsilon": 1e-3,  # so that rounding in gradients of nearly 0 moves weights little
}


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_also_after_a_kill(chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    inputs = with_corpus(tmp_path, write_inputs(tmp_path, chat_model))
    one, two, killed = (
        make_job(tmp_path / name, ppo_config(processes=processes, **SETTINGS), inputs)
        for name, processes in (("one", 1), ("two", 2), ("killed", 2))
    )

    def train(job: Any, **options: Any) -> Any:
        return run_job("train_policy", job.config, job.inputs, job.output, job.work, tmp_path / "log", processes=2, **options)

    expected, headline = run(one), train(two)
    assert headline == {name: pytest.approx(value, abs=TOLERANCE) for name, value in expected.items()}
    metrics = [[json.loads(line) for line in (job.output / "metrics.jsonl").read_text().splitlines()] for job in (one, two)]
    for alone, together in zip(*metrics, strict=True):
        assert together == {name: pytest.approx(value, abs=TOLERANCE, rel=TOLERANCE) for name, value in alone.items()}
    weights = [load_file(job.output / "model" / "model.safetensors") for job in (one, two)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=TOLERANCE, rtol=0)

    ranks: list[str] = []

    def kill_a_rank(_: Any) -> None:
        if not ranks:
            ranks.extend(family(int((killed.work / "pid").read_text().partition(":")[0])))
            os.kill(int(ranks[-1].partition(":")[0]), signal.SIGKILL)

    with pytest.raises(StageError, match="SIGKILL"):
        train(killed, on_progress=kill_a_rank)
    assert not any(map(alive, ranks))
    assert train(killed) == headline
    assert list_files(killed.output) == list_files(two.output)


def test_a_microbatch_that_processes_cannot_share_is_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of processes"):
        ppo_config(processes=3)

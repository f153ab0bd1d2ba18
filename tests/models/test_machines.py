"""One learning job on several machines, which are two launchers with folders of their own here. Oracle: both processes on one machine."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import StageError
from data_contracts.manifest import list_files
from flows.ports import free_port
from models.job import Job
from models.lifeline import alive, family
from tasks.learning.machines import Group
from tasks.learning.worker import launch, run_job
from tests.models.learning import make_job, ppo_config, write_inputs

SETTINGS: dict[str, Any] = {"processes": 2, "updates": 3, "checkpoint_every": 1, "validation_every": 1}


def train(job: Job[Any], group: Group | None = None, on_progress: Callable[[Any], None] | None = None) -> Any:
    log = job.work.parent / f"log-{group.rank if group else 'alone'}"
    return run_job("train_policy", job.config, job.inputs, job.output, job.work, log, processes=2, group=group, on_progress=on_progress)


@pytest.mark.slow
def test_two_machines_learn_what_one_learns_also_after_one_was_killed(
    chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    inputs = write_inputs(tmp_path, chat_model)
    alone, lead, helper, other = (
        make_job(tmp_path / name, ppo_config(**SETTINGS), inputs) for name in ("alone", "lead", "helper", "other")
    )
    expected = train(alone)
    killed: list[str] = []

    def kill_the_helper(_: Any) -> None:
        if not killed:
            killed.extend(family(int((helper.work / "pid").read_text().partition(":")[0])))
            os.kill(int(killed[-1].partition(":")[0]), signal.SIGKILL)

    def together(helping: Job[Any], on_progress: Callable[[Any], None] | None = None) -> Any:
        group = Group(machines=2, host="127.0.0.1", port=free_port(), patience=120)
        with ThreadPoolExecutor(1) as pool:
            helped = pool.submit(train, helping, group.model_copy(update={"rank": 1}))
            try:
                return train(lead, group, on_progress)
            finally:
                helped.exception()

    with pytest.raises(StageError):
        together(helper, kill_the_helper)
    assert killed
    assert not any(map(alive, killed))
    assert list((lead.work / "checkpoints").glob("step-*"))
    assert together(other) == expected
    assert list_files(lead.output) == list_files(alone.output)
    for machine in (helper, other):  # the second one had no checkpoint of its own to go on from
        assert not (machine.work / "checkpoints").exists()
        assert not list_files(machine.output)


def test_a_launcher_is_told_where_its_machine_stands() -> None:
    group = Group(machines=3, rank=2, host="10.0.0.7", port=4711, patience=60)
    command = " ".join(launch("models", 6, group))
    told = "--num_machines 3 --machine_rank 2 --main_process_ip 10.0.0.7 --main_process_port 4711 --same_network --rdzv_conf timeout=60"
    assert told in command
    assert command.endswith("--num_processes 6 --module models")

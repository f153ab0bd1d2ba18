"""A job that is killed at any moment and started again ends with the same bytes. Oracle: a run that was never killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_contracts.manifest import FileEntry, list_files
from models.job import Job
from models.language.pretrain import CorpusText
from tests.models.conftest import sentences, user
from tests.models.language import test_pretrain
from tests.models.reward import test_train_reward_model

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
PATIENCE = 120
"""Seconds after which a job that writes no checkpoint fails the test."""


def start(name: str, job: Job, tmp_path: Path) -> subprocess.Popen[bytes]:  # type: ignore[type-arg]
    config = tmp_path / "config.json"
    config.write_text(job.config.model_dump_json())
    inputs = [text for role, path in job.inputs.items() for text in ("--input", f"{role}={path}")]
    places = ["--config", str(config), "--output", str(job.output), "--work", str(job.work)]
    command = [sys.executable, "-m", "models", name, *places, *inputs]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})


def unbroken(name: str, job: Job, tmp_path: Path) -> tuple[FileEntry, ...]:  # type: ignore[type-arg]
    assert start(name, job, tmp_path).wait() == 0
    return list_files(job.output)


def killed_twice(name: str, job: Job, tmp_path: Path) -> tuple[FileEntry, ...]:  # type: ignore[type-arg]
    """Once where the machine is so slow that the job ends without a second checkpoint, which is due by the clock."""
    seen: set[str] = set()
    for kill in ("first", "second"):
        process = start(name, job, tmp_path)
        found = wait_for_checkpoint(process, job.work / "checkpoints", seen)
        if not found:
            assert (process.wait(), kill) == (0, "second"), "the job ended before it could be killed"
            return list_files(job.output)
        seen |= found
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    return unbroken(name, job, tmp_path)


def wait_for_checkpoint(process: subprocess.Popen[bytes], folder: Path, seen: set[str]) -> set[str]:
    """The checkpoints that are new; none where the job ended."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return set()
        if found := {path.name for path in folder.glob("step-*")} - seen:
            return found
        time.sleep(0.02)
    raise AssertionError("no checkpoint was written")


def test_pretraining(tmp_path: Path) -> None:
    texts = [CorpusText(user(a), b) for a, b in zip(sentences(4000), sentences(4000, seed=1), strict=True)]
    jobs = [test_pretrain.make_job(tmp_path / name, texts, epochs=2.5, hidden_size=64) for name in ("whole", "killed")]
    expected = unbroken("pretrain", jobs[0], tmp_path)
    assert len(expected) >= 6
    assert killed_twice("pretrain", jobs[1], tmp_path) == expected


def test_reward_model(tmp_path: Path, chat_model: Path) -> None:
    rows = test_train_reward_model.planted_rows(2400, ties=0.1)
    ensemble = {"members": 3, "combination": "uncertainty_weighted", "likelihood": "davidson"}
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    jobs = [test_train_reward_model.make_job(folder, chat_model, rows, epochs=6, batch_size=8, **ensemble) for folder in folders]
    expected = unbroken("train_reward_model", jobs[0], tmp_path)
    assert len(expected) >= 8
    assert killed_twice("train_reward_model", jobs[1], tmp_path) == expected

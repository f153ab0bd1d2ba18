"""`python -m models`: what goes in, what comes out, and that errors are one message."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.__main__ import main
from models.language import pretrain
from models.progress import DISK_FULL, USER_ERROR
from tests.models.language.test_sample import PROMPTS, make_job

ROOT = Path(__file__).parents[2]


def arguments(tmp_path: Path, *more: str, job: str = "pretrain", config: str = "{}") -> list[str]:
    (tmp_path / "config.json").write_text(config)
    places = ["--config", str(tmp_path / "config.json"), "--output", str(tmp_path / "output"), "--work", str(tmp_path / "work")]
    return [job, *places, "--progress", str(tmp_path / "progress"), *more]


@pytest.mark.parametrize(
    ("config", "more", "message"),
    [
        ('{"hiden_size": 3}', (), "hiden_size"),
        ('{"seed": -1}', (), "seed"),
        ("{", (), "configuration is wrong"),
        ("{}", (), "no input 'corpus'"),
        ("{}", ("--input", "corpus"), "ROLE=DIRECTORY"),
        ("{}", ("--input", "corpus=/nowhere/at/all"), "/nowhere/at/all/corpus.parquet"),
    ],
)
def test_user_errors_are_one_message(
    tmp_path: Path, config: str, more: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path, *more, config=config)) == USER_ERROR
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
    event = json.loads((tmp_path / "progress").read_text().splitlines()[-1])
    assert event["event"] == "error"
    assert event["type"] in ("RecipeError", "InputError")
    assert event["remedy"]


def run_sample(tmp_path: Path, model: Path) -> subprocess.CompletedProcess[bytes]:
    job = make_job(tmp_path, model, PROMPTS)
    inputs = [text for role, path in job.inputs.items() for text in ("--input", f"{role}={path}")]
    command = arguments(tmp_path, *inputs, job="sample", config=job.config.model_dump_json())
    return subprocess.run([sys.executable, "-m", "models", *command], cwd=ROOT, capture_output=True, check=False)


@pytest.mark.slow
def test_a_full_disk_is_one_message(tmp_path: Path, chat_model: Path) -> None:
    """Linux's /dev/full answers every write as a full disk does."""
    (tmp_path / "output").mkdir(exist_ok=True)
    (tmp_path / "output" / "samples.parquet").symlink_to("/dev/full")
    done = run_sample(tmp_path, chat_model)
    assert done.returncode == DISK_FULL
    assert b"StorageError: the disk is full" in done.stderr
    assert b"Traceback" not in done.stderr
    assert json.loads((tmp_path / "progress").read_text().splitlines()[-1])["type"] == "StorageError"


@pytest.mark.parametrize("allocate", [lambda: torch.empty(1 << 50), lambda: bytearray(1 << 62)])
def test_memory_that_runs_out_is_one_message_with_what_to_lower(
    tmp_path: Path, allocate: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch and Python are asked for more than any machine has."""
    monkeypatch.setattr(pretrain, "run", lambda job: allocate())
    assert main(arguments(tmp_path)) == USER_ERROR
    shown = capsys.readouterr().err
    assert "StageError: out of memory in the job pretrain" in shown
    assert "lower base_model.pretrain.batch_size or context_length; then run again" in shown
    assert json.loads((tmp_path / "progress").read_text().splitlines()[-1])["type"] == "StageError"


@pytest.mark.slow
def test_a_job_writes_its_headline_and_progress(tmp_path: Path, chat_model: Path) -> None:
    done = run_sample(tmp_path, chat_model)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads((tmp_path / "work" / "headline.json").read_text())["responses"] == 9
    events = [json.loads(line) for line in (tmp_path / "progress").read_text().splitlines()]
    assert (events[-1]["event"], events[-1]["done"], events[-1]["total"]) == ("progress", 9, 9)


def test_reading_configurations_needs_no_torch() -> None:
    code = "import sys, models.configs, models.job, models.__main__; print('torch' in sys.modules, 'transformers' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["False", "False"]

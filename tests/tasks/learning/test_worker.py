"""The worker, with real jobs in real processes that are really killed. Expected: the contract, and an unbroken run's bytes."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import InputError, RecipeError, StageError, StorageError
from data_contracts.manifest import list_files
from models.configs import RewardModelConfig
from models.lifeline import alive, family, name_of
from models.policy_configs import DPOConfig
from models.progress import DISK_FULL
from tasks.learning.worker import job_error, launch, running, sweep, turn
from tests.tasks.learning.jobs import ENDLESS, ROOT, TINY, job_of, make_corpus, run, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"], process_group=0)
    yield process
    process.kill()
    process.wait()


def test_an_error_that_the_job_reports_is_raised_here_as_it_was_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"split: Extra inputs.*\[.*config\.json\]"):
        run(tmp_path, RewardModelConfig())


def test_an_end_without_a_reported_error_quotes_the_log(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"(?s)job nonsense failed with exit code 2.*invalid choice: 'nonsense'.*job\.log.*run again"):
        run(tmp_path, job="nonsense")
    assert "invalid choice" in (tmp_path / "logs" / "job.log").read_text()


LAUNCHER_FAILED = f"""
torch.distributed.elastic.multiprocessing.errors.ChildFailedError, told by torch/distributed/elastic/multiprocessing/api.py:
Root Cause (first observed failure):
[0]:
  rank      : 1 (local_rank: 1)
  exitcode  : {DISK_FULL} (pid: 4711)
"""


@pytest.mark.parametrize(("code", "written"), [(DISK_FULL, ""), (1, LAUNCHER_FAILED)])
def test_a_job_on_a_full_disk_says_so_by_its_exit_status_alone(tmp_path: Path, code: int, written: str) -> None:
    """Where several processes train, the launcher ends with a status of its own and tells the rank's."""
    (tmp_path / "job.log").write_text(written)
    error = job_error("nonsense", code, None, tmp_path / "job.log", 0)
    assert isinstance(error, StorageError)
    assert "free some space" in str(error)


def test_the_log_of_an_earlier_run_is_kept_and_not_quoted(tmp_path: Path) -> None:
    for job in ("first", "second"):
        with pytest.raises(StageError) as caught:
            run(tmp_path, job=job)
    assert "first" not in str(caught.value)
    assert "first" in (tmp_path / "logs" / "job.log").read_text()


def test_a_folder_named_models_in_the_working_directory_is_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError):
        run(tmp_path, RewardModelConfig())


def test_an_orphan_is_ended_before_the_work_begins_anew(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    (tmp_path / "pid").write_text(name_of(sleeper.pid) + "\n")
    sweep(tmp_path)
    assert sleeper.wait(0) == -signal.SIGKILL
    assert not (tmp_path / "pid").exists()


def test_a_stranger_with_the_pid_of_an_old_job_is_left_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    (tmp_path / "pid").write_text(f"{sleeper.pid}:1\n")
    sweep(tmp_path)
    assert sleeper.poll() is None


def test_a_second_run_of_the_same_work_waits_until_the_first_is_gone(tmp_path: Path) -> None:
    work = str(tmp_path / "work")
    script = f"from pathlib import Path; from tasks.learning.worker import turn\nwith turn(Path({work!r})): print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        killer = threading.Timer(0.5, first.kill)
        killer.start()
        with turn(tmp_path / "work"):
            assert not alive(name_of(first.pid))
        killer.join()


@pytest.mark.slow
def test_a_job_gives_its_files_its_headline_and_its_progress(tmp_path: Path, corpus: Path) -> None:
    events: list[Any] = []
    headline = run(tmp_path, on_progress=events.append)
    assert (tmp_path / "output" / "model" / "model.safetensors").exists()
    assert headline["final_loss"] > 0
    steps = [event["done"] for event in events]
    assert steps == list(range(1, events[0]["total"] + 1))
    assert not (tmp_path / "work-output" / "pid").exists()


@pytest.mark.slow
def test_a_missing_input_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no input 'corpus'"):
        run(tmp_path)


@pytest.mark.slow
def test_a_killed_job_says_so_and_goes_on_to_the_same_bytes(tmp_path: Path, corpus: Path) -> None:
    longer = TINY.model_copy(update={"epochs": 100})
    run(tmp_path, longer, output="unbroken")
    work = tmp_path / "work-broken"

    def kill_after_a_checkpoint(_: Any) -> None:
        if any(work.glob("checkpoints/step-*")) and alive(job_of(work)):
            os.kill(int(job_of(work).partition(":")[0]), signal.SIGKILL)

    with pytest.raises(StageError, match=r"SIGKILL.*out of memory"):
        run(tmp_path, longer, output="broken", on_progress=kill_after_a_checkpoint)
    run(tmp_path, longer, output="broken")
    assert "going on from the checkpoint" in (work / "progress.jsonl").read_text()
    assert list_files(tmp_path / "broken") == list_files(tmp_path / "unbroken")


@pytest.mark.slow
def test_an_interrupt_leaves_no_process(tmp_path: Path, corpus: Path) -> None:
    names: list[str] = []

    def interrupt(_: Any) -> None:
        names.append(job_of(tmp_path / "work-output"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, ENDLESS, on_progress=interrupt)
    assert not alive(names[0])


SUPERVISOR = """
import sys
from pathlib import Path
from tasks.learning.worker import launch, running
base, command = Path(sys.argv[1]), [*launch(sys.argv[2], int(sys.argv[3])), *sys.argv[4:]]
with (base / "job.log").open("ab") as log, running(command, log.fileno(), base) as process:
    process.wait()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("module", "processes"), [("models", 1), ("tests.tasks.learning.waiting_rank", 2)])
def test_sigkill_of_the_supervisor_leaves_no_process(tmp_path: Path, corpus: Path, module: str, processes: int) -> None:
    sign = tmp_path / "progress"
    (tmp_path / "config.json").write_text(ENDLESS.model_dump_json())
    job = ["pretrain", f"--config={tmp_path}/config.json", f"--output={tmp_path}/output", f"--work={tmp_path}", f"--input=corpus={corpus}"]
    arguments = [*job, f"--progress={sign}"] if module == "models" else [str(sign)]
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), module, str(processes), *arguments]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as supervisor:
        assert wait_for(sign.exists), (tmp_path / "job.log").read_text()
        jobs = family(supervisor.pid)[1:]
        assert len(jobs) == processes + (processes > 1)  # the launcher comes on top
        supervisor.kill()
    assert wait_for(lambda: not any(map(alive, jobs)), 10)


@pytest.mark.slow
def test_leaving_the_block_ends_launcher_and_ranks(tmp_path: Path) -> None:
    command = [*launch("tests.tasks.learning.waiting_rank", 2), str(tmp_path / "sign")]
    with (tmp_path / "log").open("ab") as log, running(command, log.fileno(), tmp_path) as process:
        assert wait_for((tmp_path / "sign").exists), (tmp_path / "log").read_text()
        jobs = family(process.pid)
        assert len(jobs) == 3
    assert not any(map(alive, jobs))


@pytest.mark.slow
def test_a_job_that_runs_in_one_process_says_so_when_asked_for_two(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(RecipeError, match="one process"):
        run(tmp_path, DPOConfig(), job="train_dpo", processes=2)


@pytest.mark.slow
def test_a_failing_rank_is_told_from_those_that_fell_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, temporary = tmp_path / "log", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with (
        log.open("ab") as sink,
        running([*launch("tests.tasks.learning.waiting_rank", 2), str(tmp_path / "sign")], sink.fileno(), tmp_path) as process,
    ):
        assert wait_for((tmp_path / "sign").exists), log.read_text()
        os.kill(int(family(process.pid)[1].partition(":")[0]), signal.SIGKILL)
        code = process.wait()
    error = str(job_error("waiting_rank", code, None, log, 0))
    assert re.search("waiting_rank was killed \\(SIGKILL\\)", error)
    assert "elastic" not in error
    assert not list(temporary.iterdir())

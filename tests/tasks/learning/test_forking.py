"""Forked jobs, with a real server. Expected: what `python -m models` does without one, and no process that is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_contracts.errors import StageError
from data_contracts.manifest import list_files
from models.lifeline import alive, family
from tasks.costs import metered
from tasks.learning import forking
from tasks.learning.forking import may_be_forked
from tests.tasks.learning.jobs import ENDLESS, ROOT, job_of, make_corpus, run, wait_for


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make_corpus(tmp_path)


@pytest.fixture
def server() -> Iterator[None]:
    """A server that a test may do with what it likes."""
    yield
    if forking._server is not None:
        forking._server.end()


def test_where_a_gpu_is_no_job_is_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "DEVICES", tmp_path)
    assert may_be_forked("pretrain")
    (tmp_path / "nvidia0").touch()
    assert not may_be_forked("pretrain")


def test_a_job_that_imports_little_is_not_forked() -> None:
    assert not may_be_forked("measure_code")


@pytest.mark.slow
def test_jobs_of_one_server_make_the_same_files_as_jobs_of_their_own(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one runs in a place and an environment of its own, and does not pay for imports."""
    run(tmp_path, output="first")
    assert forking._server is not None
    pid = forking._server.process.pid
    monkeypatch.chdir(tmp_path)
    parents: list[str] = []
    monkeypatch.setenv("OVERNIGHT_TEST", "of the second job")
    begun = time.monotonic()
    with metered() as cost:
        run(tmp_path, output="second", on_progress=lambda _: parents.append(forked_by(tmp_path / "work-second")))
    elapsed = time.monotonic() - begun
    assert set(parents) <= {str(pid), ""}
    assert str(pid) in parents
    assert cost.cpu_seconds is not None
    assert 0.1 < cost.cpu_seconds < 1.5 * elapsed  # this process itself only waits
    monkeypatch.setattr(forking, "ACCELERATORS", ("null",))
    run(tmp_path, output="own")
    assert list_files(tmp_path / "first") == list_files(tmp_path / "second") == list_files(tmp_path / "own")


def forked_by(work: Path) -> str:
    """The parent's pid, or nothing of a job that is gone."""
    try:
        return Path("/proc", job_of(work).partition(":")[0], "stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return ""


@pytest.mark.slow
def test_the_server_has_no_thread_that_a_fork_would_lose(tmp_path: Path, corpus: Path) -> None:
    """But jemalloc's, which sees to forks itself."""
    run(tmp_path)
    assert forking._server is not None
    threads = [(thread / "comm").read_text().strip() for thread in Path("/proc", str(forking._server.process.pid), "task").iterdir()]
    assert {name for name in threads if not name.startswith("python")} <= {"jemalloc_bg_thd"}
    assert sum(name.startswith("python") for name in threads) == 1


@pytest.mark.slow
def test_a_killed_server_takes_its_job_along_and_the_next_job_has_a_new_one(tmp_path: Path, corpus: Path, server: None) -> None:
    members: list[str] = []

    def kill(_: object) -> None:
        if not members:
            assert forking._server is not None
            members.extend(family(forking._server.process.pid))
            assert len(members) == 2
            os.kill(forking._server.process.pid, signal.SIGKILL)

    with pytest.raises(StageError, match="SIGKILL"):
        run(tmp_path, ENDLESS, output="killed", on_progress=kill)
    assert wait_for(lambda: not any(map(alive, members)), 10)
    assert run(tmp_path)["final_loss"] > 0
    os.kill(forking._server.process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    assert wait_for(lambda: forking._server.process.poll() is not None)  # type: ignore[union-attr]
    assert run(tmp_path, output="another")["final_loss"] > 0


@pytest.mark.slow
def test_a_server_that_does_not_begin_is_an_error(tmp_path: Path, corpus: Path, server: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if forking._server is not None:
        forking._server.end()
    monkeypatch.setattr(forking.sys, "executable", "/bin/false")
    with pytest.raises(StageError, match="job pretrain failed with exit code 1"):
        run(tmp_path)
    assert not (tmp_path / "work-output" / "pid").exists()


GOES_ON = """
import sys
from pathlib import Path
from tests.tasks.learning.jobs import ENDLESS, run
run(Path(sys.argv[1]), ENDLESS)
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["it imports", "its job runs"])
def test_sigkill_of_the_supervisor_leaves_no_server_and_no_job(tmp_path: Path, corpus: Path, when: str) -> None:
    with subprocess.Popen([sys.executable, "-c", GOES_ON, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(ROOT)}) as supervisor:
        if when == "it imports":
            assert wait_for(lambda: len(family(supervisor.pid)) == 2)
        else:
            assert wait_for((tmp_path / "work-output" / "pid").exists)
        members = family(supervisor.pid)[1:]
        assert len(members) == (1 if when == "it imports" else 2)
        supervisor.kill()
    assert wait_for(lambda: not any(map(alive, members)), 10)


ENDS = """
import sys
from pathlib import Path
from tasks.learning import forking
from tests.tasks.learning.jobs import run
run(Path(sys.argv[1]))
print(forking._server.process.pid)
"""


@pytest.mark.slow
def test_a_supervisor_that_ends_leaves_no_server(tmp_path: Path, corpus: Path) -> None:
    command = [sys.executable, "-c", ENDS, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    assert not Path("/proc", done.stdout.strip()).exists()

"""The lifeline, with real processes that are really killed. What has to happen is the contract of `hold`: nobody survives."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.lifeline import EXIT_CODE, SUPERVISOR, alive, family, name_of, supervisor_env

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
HOLD_AND_WAIT = (
    "from models.lifeline import hold; hold(); import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def written_pid(path: Path) -> int:
    assert wait_for(lambda: path.exists() and path.read_text() != "")
    return int(path.read_text())


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_process_is_named_by_pid_and_start_time(sleeper: subprocess.Popen[bytes]) -> None:
    name = name_of(sleeper.pid)
    assert alive(name)
    assert not alive(f"{sleeper.pid}:1")  # another process that once had this pid


def test_a_process_that_nobody_waited_for_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    name = name_of(sleeper.pid)
    sleeper.kill()
    assert wait_for(lambda: not alive(name))
    assert Path("/proc", str(sleeper.pid)).exists()  # it is still in the process table


def test_a_family_has_children_and_grandchildren_in_sessions_of_their_own(tmp_path: Path) -> None:
    script = f"setsid sh -c 'echo $$ > {tmp_path}/grandchild; sleep 60; true' & wait"
    with subprocess.Popen(["sh", "-c", script], start_new_session=True) as process:
        assert wait_for(lambda: len(family(process.pid)) == 3)
        members = family(process.pid)
        assert name_of(written_pid(tmp_path / "grandchild")) in members
        for member in members:
            os.kill(int(member.partition(":")[0]), signal.SIGKILL)
    assert family(process.pid) == []


def test_the_child_of_a_killed_supervisor_dies_at_once(tmp_path: Path) -> None:
    supervisor = (
        "import subprocess, sys; from models.lifeline import supervisor_env; import os; "
        f"subprocess.run([sys.executable, '-c', {HOLD_AND_WAIT!r}, sys.argv[1]], env={{**os.environ, **supervisor_env()}})"
    )
    with subprocess.Popen([sys.executable, "-c", supervisor, str(tmp_path / "pid")], env=ENV) as process:
        child = name_of(written_pid(tmp_path / "pid"))
        process.kill()
    assert wait_for(lambda: not alive(child))


def test_a_process_ends_with_its_supervisor_though_its_parent_lives(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    command = [sys.executable, "-c", HOLD_AND_WAIT, str(tmp_path / "pid")]
    with subprocess.Popen(command, env={**ENV, SUPERVISOR: name_of(sleeper.pid)}) as process:
        assert written_pid(tmp_path / "pid") == process.pid
        sleeper.kill()
        assert process.wait(20) == EXIT_CODE


def test_a_process_whose_supervisor_is_already_gone_does_not_start() -> None:
    ended = subprocess.Popen(["true"])
    name = name_of(ended.pid)
    ended.wait()
    process = subprocess.run([sys.executable, "-c", HOLD_AND_WAIT, "/dev/null"], env={**ENV, SUPERVISOR: name}, timeout=20, check=False)
    assert process.returncode == EXIT_CODE


def test_a_module_that_knows_nothing_runs_on_a_lifeline(tmp_path: Path) -> None:
    (tmp_path / "stranger.py").write_text(
        "import sys; open(sys.argv[1], 'w').write(str(__import__('os').getpid())); __import__('time').sleep(60)"
    )
    command = [sys.executable, "-m", "models.lifeline", "stranger", str(tmp_path / "pid")]
    supervisor = f"import subprocess; subprocess.run({command!r})"
    env = {**ENV, "PYTHONPATH": f"{ROOT}:{tmp_path}", **supervisor_env()}
    with subprocess.Popen([sys.executable, "-c", supervisor], env=env) as process:
        child = name_of(written_pid(tmp_path / "pid"))
        process.kill()
    assert wait_for(lambda: not alive(child))

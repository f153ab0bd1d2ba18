"""The sandbox: programs that do what they must not, and what became of it, looked up from outside. Where the machine cannot hold
something off, its test is skipped: that the stage says so is tested everywhere.
"""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_contracts.errors import StageError
from models.evaluation.measures import sandbox
from models.evaluation.measures.sandbox import Ran, run_program, see_that_it_holds
from models.lifeline import alive, family
from models.measure_configs import Execution

ROOT = Path(__file__).parents[4]
LIMITS = Execution(cpu_seconds=2, wall_seconds=20, memory_mb=256, file_mb=1, required=())
WHOLE = LIMITS.model_copy(update={"required": ("network", "files", "processes")})


def holds(what: str) -> bool:
    return run_program("", LIMITS.model_copy(update={"required": (what,)})).succeeded


def needs(what: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not holds(what), reason=f"this machine cannot hold off {what}")


def test_a_harmless_program_runs_to_its_end() -> None:
    source = "import json, math\nwith open('own.txt', 'w') as file:\n    file.write(json.dumps(math.pi))\nassert open('own.txt').read()\n"
    assert run_program(source, LIMITS) == Ran(True, "")
    assert run_program("import sys\nsys.exit(3)", LIMITS) == Ran(False, "exit status 3")
    assert run_program("1 / 0", LIMITS) == Ran(False, "ZeroDivisionError: division by zero")


def test_it_sees_an_empty_folder_an_empty_environment_and_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "x")
    source = (
        "import os, sys\nassert os.listdir('.') == []\nassert not set(os.environ) - {'LC_CTYPE'}, os.environ\nassert not sys.stdin.read()"
    )
    assert run_program(source, LIMITS) == Ran(True, "")


def test_what_it_says_is_kept_to_a_line() -> None:
    found = run_program("import sys\nprint('x' * 10**6)\nprint('y' * 10**4, file=sys.stderr)\nsys.exit(1)", LIMITS)
    assert found == Ran(False, "y" * 200)


def test_a_program_ends_with_who_started_it(tmp_path: Path) -> None:
    """SIGKILL of the caller, who cannot clean up: nobody is left to keep the program's clock."""
    waiting = "import time\nopen('begun', 'w').close()\ntime.sleep(300)"
    caller = f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}\nfrom models.measure_configs import Execution\n"
    caller += "from models.evaluation.measures.sandbox import run_program\n"
    caller += f"run_program({waiting!r}, Execution(cpu_seconds=60, wall_seconds=300, memory_mb=256, file_mb=1, required=()))"
    process = subprocess.Popen([sys.executable, "-c", caller], cwd=ROOT)
    try:
        while not list(tmp_path.glob("*/inside/begun")):
            assert process.poll() is None
            time.sleep(0.05)
        members = family(process.pid)
        assert len(members) > 1
    finally:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 10
    while any(map(alive, members)):
        assert time.monotonic() < deadline, "the program outlived who started it"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_loop_ends_by_its_cpu_seconds_and_a_sleep_by_the_clock() -> None:
    assert run_program("while True: pass", LIMITS).note.startswith("killed: more than its CPU seconds")
    began = time.monotonic()
    assert run_program("import time\ntime.sleep(600)", LIMITS.model_copy(update={"wall_seconds": 1.0})).note == "ended after 1 seconds"
    assert time.monotonic() - began < 30


def test_memory_and_files_have_their_limits() -> None:
    assert run_program("x = bytearray(2**30)", LIMITS).note == "MemoryError"
    assert "File too large" in run_program("open('big', 'wb').write(bytes(2**22))", LIMITS).note


STARTS = {
    "fork": "import os\nos.fork()",
    "a thread": "import threading\nthreading.Thread(target=print).start()",
    "a command": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''])",
    "a daemon": "import os\nos.setsid()\nif not os.fork():\n    os.setsid()\n    while True: pass",
}


@needs("processes")
@pytest.mark.parametrize("source", STARTS.values(), ids=STARTS)
def test_nothing_is_started(source: str) -> None:
    found = run_program(source, LIMITS)
    assert not found.succeeded
    assert "Resource temporarily unavailable" in found.note or "can't start new thread" in found.note


@needs("processes")
def test_no_other_process_is_seen_or_ended() -> None:
    """It is the first process of its own world, and the one that started it is not there."""
    assert run_program("import os\nassert os.getpid() == 1 and os.getppid() == 0", LIMITS).succeeded
    assert "ProcessLookupError" in run_program("import os\nos.kill(2, 9)", LIMITS).note


@needs("files")
def test_files_outside_are_neither_read_nor_written_nor_removed(tmp_path: Path) -> None:
    (secret := tmp_path / "secret.txt").write_text("x")
    for harm in (f"open({str(secret)!r}).read()", f"open({str(secret)!r}, 'w')", f"import os\nos.remove({str(secret)!r})"):
        assert "PermissionError" in run_program(harm, LIMITS).note
    assert "PermissionError" in run_program(f"import os\nos.listdir({str(tmp_path)!r})", LIMITS).note
    assert "PermissionError" in run_program("open('/etc/passwd').read()", LIMITS).note
    assert secret.read_text() == "x"


@needs("network")
def test_the_network_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5)"
        assert "Network is unreachable" in run_program(source, LIMITS).note


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.tempfile, "tempdir", str(tmp_path))
    run_program("open('own', 'w')", LIMITS)
    assert list(tmp_path.iterdir()) == []


def test_a_machine_that_cannot_hold_it_ends_the_stage_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without Landlock, which answers its system call by "not implemented", and without namespaces."""
    jail = (
        sandbox.JAIL.read_text()
        .replace("LIBC.unshare(flags) == 0", "False")
        .replace("CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444", "CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 9999")
    )
    (tmp_path / "jail.py").write_text(jail)
    monkeypatch.setattr(sandbox, "JAIL", tmp_path / "jail.py")
    with pytest.raises(StageError, match=r"files and network and processes cannot be held off here.*measures\.code\.execution"):
        see_that_it_holds(WHOLE)
    see_that_it_holds(LIMITS)

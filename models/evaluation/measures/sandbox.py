"""Programs that nobody has looked at, run where they can do little (`jail.py`), and ended in time whatever they started."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from data_contracts.errors import StageError
from models.measure_configs import Execution

JAIL = Path(__file__).parent / "jail.py"
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL, -signal.SIGXCPU)
"""What the exit status is when the kernel ended the program, which may be the first of a process namespace or not."""
LONGEST_NOTE = 200
"""Characters of what a program said last that are kept."""


class Ran(NamedTuple):
    """What became of a program."""

    succeeded: bool
    """Whether it ended by itself in time with status 0."""
    note: str
    """Else why not: its last line on standard error, or how it was ended."""


def see_that_it_holds(limits: Execution) -> None:
    """Run a program that does nothing.

    Raises:
        StageError: this machine cannot hold off what the recipe asks to be held off, or Python does not start under the limits.
    """
    ran = run_program("", limits)
    if not ran.succeeded:
        raise StageError(
            f"code cannot be run in a sandbox here: {ran.note}",
            where=sys.executable,
            remedy="run the night on Linux with Landlock and namespaces, memory_mb large enough; "
            "or take what need not be held off out of measures.code.execution.required, or that section out of the recipe",
        )


def run_program(source: str, limits: Execution) -> Ran:
    """Run a Python program in an empty folder, with an empty environment, no input, and its output thrown away."""
    folder = Path(tempfile.mkdtemp(prefix="overnight-code-"))
    try:
        inside = _prepared(folder, source)
        with tempfile.TemporaryFile() as said:
            return _ended(_command(folder / "program.py", inside, limits), limits.wall_seconds, said.fileno())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepared(folder: Path, source: str) -> Path:
    """The program's file, and beside it the empty folder in which it may write."""
    (folder / "program.py").write_text(source, encoding="utf-8", errors="replace")
    (inside := folder / "inside").mkdir()
    return inside


def _command(program: Path, inside: Path, limits: Execution) -> list[str]:
    sizes = (limits.cpu_seconds, limits.memory_mb, limits.file_mb)
    return [sys.executable, "-I", str(JAIL), str(program), str(inside), *map(str, sizes), ",".join(limits.required)]


def _ended(command: Sequence[str], seconds: float, said: int) -> Ran:
    """Run a command in a session of its own, and kill all of it when its time is up or it has ended."""
    process = subprocess.Popen(
        command, env={}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True, cwd="/"
    )
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return Ran(False, f"ended after {seconds:g} seconds")
    finally:
        _kill_group(process)
    if status in KILLED:
        return Ran(False, "killed: more than its CPU seconds, or than this machine's memory")
    return Ran(True, "") if status == 0 else Ran(False, _last_words(said) or f"exit status {status}")


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):  # nothing is left of it
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_words(said: int) -> str:
    size = os.fstat(said).st_size
    text = os.pread(said, 4 * LONGEST_NOTE, max(0, size - 4 * LONGEST_NOTE)).decode(errors="replace")
    return next((line.strip()[:LONGEST_NOTE] for line in reversed(text.splitlines()) if line.strip()), "")

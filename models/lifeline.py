"""The lifeline: a worker process dies with the process that supervises it, so that none is left holding a GPU.

A supervisor that is killed cannot clean up. Its children are therefore the ones who see to it, in two ways:

1. On Linux the kernel is asked for a SIGKILL when the parent dies (`PR_SET_PDEATHSIG`). It comes at once, even while Python
   is stuck in native code. It follows the *thread* that started the process, so a supervisor waits for its worker in the
   thread that started it.
2. A watcher thread looks twice a second whether the supervisor and the direct parent still live, and ends the process if
   not. It covers what the kernel does not: other systems, a parent that died before the signal was asked for, and
   generations in between, since a launcher's ranks have the launcher as parent and stand in sessions of their own.

A pid alone does not name a process for long, so a process is named by its pid and its start time.

`python -m models.lifeline MODULE ARG …` runs a module that knows nothing of this, such as a launcher, on a lifeline.
"""

import ctypes
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

SUPERVISOR = "OVERNIGHT_SUPERVISOR"
"""Environment variable that names the supervisor, as `pid:start time`."""

SOURCE_ROOT = Path(__file__).parents[1]
POLL_SECONDS = 0.5
EXIT_CODE = 77
"""Exit code of a process that ended because its supervisor or parent was gone."""

PR_SET_PDEATHSIG = 1
STATE, START_TIME = 0, 19
"""Places in `/proc/PID/stat`, counted after the command name (`man 5 proc`: fields 3 and 22)."""


def hold() -> None:
    """Make this process end when its supervisor or its parent does; call it before heavy imports."""
    parent = name_of(os.getppid())
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    watched = [name for name in (os.environ.get(SUPERVISOR), parent) if name]
    _end_unless_alive(watched)
    threading.Thread(target=_watch, args=(watched,), name="lifeline", daemon=True).start()


def end_unless_supervised() -> None:
    """End this process if its supervisor is gone."""
    _end_unless_alive([name for name in (os.environ.get(SUPERVISOR),) if name])


def supervisor_env() -> dict[str, str]:
    """The environment variable by which workers of this process know it as their supervisor."""
    return {SUPERVISOR: name_of(os.getpid())}


def worker_env() -> dict[str, str]:
    """The environment of a worker of this process: its own, its supervisor, and this code, wherever the worker stands.

    The safe path keeps a folder `models` in the working directory from standing in for ours.
    """
    return {**os.environ, **supervisor_env(), "PYTHONPATH": str(SOURCE_ROOT), "PYTHONSAFEPATH": "1"}


def name_of(pid: int) -> str:
    """A process as `pid:start time`, the start time in clock ticks since boot; empty where the system does not tell it."""
    stat = _stat(pid)
    return f"{pid}:{stat[START_TIME] if stat else ''}"


def alive(name: str) -> bool:
    """Whether the process that `name_of` named still runs; one that ended but was not yet waited for does not."""
    pid, _, start = name.partition(":")
    stat = _stat(int(pid))
    if stat is None:
        return not Path("/proc/self/stat").exists() and _exists(int(pid))
    return stat[STATE] not in "ZX" and start in ("", stat[START_TIME])


def family(pid: int) -> list[str]:
    """A living process and all its descendants, named as by `name_of`; empty where there is no `/proc`."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if stat := _stat(int(entry.name)):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return [name for name in map(name_of, found) if alive(name)]


def _stat(pid: int) -> list[str] | None:
    """The fields of `/proc/PID/stat` after the command name, which may itself hold blanks and brackets."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _watch(watched: list[str]) -> None:
    while True:
        time.sleep(POLL_SECONDS)
        _end_unless_alive(watched)


def _end_unless_alive(watched: list[str]) -> None:
    if not all(map(alive, watched)):
        os._exit(EXIT_CODE)  # not sys.exit: that would end one thread only, and run handlers that may hang


if __name__ == "__main__":
    hold()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

"""Jobs that are forked by a server of this process's own (see `models.fork_server`), which spares them their imports."""

import atexit
import json
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from models.jobs import JOBS
from models.lifeline import worker_env
from tasks.costs import add_cpu_seconds

DEVICES = Path("/dev")
ACCELERATORS = ("nvidia*", "kfd", "dxg", "accel*")
"""GPUs and their like, by the names of their devices."""


def may_be_forked(job: str) -> bool:
    """Whether a server forks this job: on Linux, where no GPU is. Where one is, imports are the least of a job's time."""
    accelerated = any(found for name in ACCELERATORS for found in DEVICES.glob(name))
    return sys.platform == "linux" and not accelerated and job in JOBS and JOBS[job].torch


class ForkedJob:
    """A job's process: what a worker asks of `subprocess.Popen`."""

    def __init__(self, server: "_Server", arguments: Sequence[str], log: Path) -> None:
        """Have it forked; where the server ends instead, the job has ended like the server."""
        self.returncode: int | None = None
        self._server = server
        place = {"log": str(log.absolute()), "directory": str(Path.cwd()), "environment": worker_env()}
        forked = server.ask({"arguments": list(arguments), **place})
        self.pid: int = forked["pid"] if forked else server.process.pid
        if forked is None:
            self.returncode = server.process.wait()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        if self.returncode is None:
            if timeout is not None and not select.select([self._server.connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("the forked job", timeout)
            ended = self._server.answer()
            self.returncode = ended["code"] if ended else self._server.process.wait()  # a job is killed with its server
            add_cpu_seconds(ended["cpu_seconds"] if ended else 0.0)
        return self.returncode


@contextmanager
def forked(arguments: Sequence[str], log: Path) -> Iterator[ForkedJob]:
    """A job's process, begun with the arguments of `python -m models` and a file for what it says; one at a time.

    Whoever leaves the block has waited for it; left by an exception, it is ended.
    """
    global _server  # noqa: PLW0603  (as long as this process lives, over all its jobs)
    with _turn:
        if _server is None or _server.process.poll() is not None:
            _server = _Server(log)
        try:
            yield ForkedJob(_server, arguments, log)
        except BaseException:
            _server.end()  # it may still have something to say of this job
            raise


_turn = threading.Lock()
_server: "_Server | None" = None
"""Of this process: begun with its first job."""


class _Server:
    """A fork server and the line to it; it ends with this process."""

    def __init__(self, log: Path) -> None:
        self.connection, other = socket.socketpair()
        command = [sys.executable, "-m", "models.fork_server", str(other.fileno())]
        with other, log.open("ab") as said:
            self.process = subprocess.Popen(
                command, env=worker_env(), pass_fds=[other.fileno()], stdin=subprocess.DEVNULL, stdout=said, stderr=said, process_group=0
            )
        self._lines = self.connection.makefile("rw")
        atexit.register(self.end)

    def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Ask for something; its first answer, or None where it has ended."""
        with suppress(BrokenPipeError):
            print(json.dumps(request), file=self._lines, flush=True)
        return self.answer()

    def answer(self) -> Mapping[str, Any] | None:
        """What it says next; None where it has ended."""
        with suppress(ConnectionError):
            if line := self._lines.readline():
                answer: Mapping[str, Any] = json.loads(line)
                return answer
        return None

    def end(self) -> None:
        """Kill it, and with it the job that it may have; it has nothing to lose."""
        atexit.unregister(self.end)
        self.process.kill()
        self.process.wait()
        with suppress(BrokenPipeError):
            self._lines.close()
        self.connection.close()

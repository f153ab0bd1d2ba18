"""The fork server: a process that has imported what learning jobs need, and forks a process for each of them.

Torch and transformers take six seconds of a processor to import, as long as a small job itself and as often as a night has jobs.
Here that is paid once. `tasks.learning.forking` starts it as `python -m models.fork_server FD`, where FD is a socket:

    asked     {"arguments": [those of `python -m models`], "log": path, "directory": path, "environment": {name: value}}
    answered  {"pid": 12} when the job begins, {"code": 0, "cpu_seconds": 3.4} when it has ended; the first one pays for the imports

What libraries read from the environment when they are imported stays as it was for the first job. The job is on a lifeline like
every other one. The server itself ends when its socket is closed, or when its supervisor is gone, for which it looks by a timer: a
thread would be one that is lost in every fork. It must not fork where there is a GPU, whose driver does not survive it once it was
called. The standard library's own fork server (`multiprocessing`) would run the supervisor's `__main__` in every job, and does not
tell what a job used.
"""

import gc
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from models.__main__ import main as run_job
from models.jobs import JOBS
from models.lifeline import POLL_SECONDS, end_unless_supervised


def main(descriptor: int) -> int:
    """Serve the socket; in a forked process, the job's exit status."""
    signal.signal(signal.SIGALRM, lambda *_: end_unless_supervised())
    signal.setitimer(signal.ITIMER_REAL, POLL_SECONDS, POLL_SECONDS)
    for kind in JOBS.values():
        if kind.torch:
            import_module(kind.module)
    gc.freeze()  # what is here now is left where it is, in memory that the jobs share
    with socket.socket(fileno=descriptor) as connection:
        asked = _serve(connection)
    if asked is None:
        return 0
    _take_place(asked)
    return run_job(asked["arguments"])


def _serve(connection: socket.socket) -> Mapping[str, Any] | None:
    """Fork for each request until nobody asks any more; what was asked, in the process that was forked for it."""
    used = 0.0
    with connection.makefile("rw") as lines:
        for line in lines:
            asked: Mapping[str, Any] = json.loads(line)
            if (pid := os.fork()) == 0:
                return asked
            os.setpgid(pid, pid)  # before anybody learns of it, so that its group can be ended
            print(json.dumps({"pid": pid}), file=lines, flush=True)
            _, status = os.waitpid(pid, 0)
            before, used = used, _cpu_seconds()
            print(json.dumps({"code": os.waitstatus_to_exitcode(status), "cpu_seconds": used - before}), file=lines, flush=True)
    return None


def _cpu_seconds() -> float:
    """Of this process and of those that it forked and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _take_place(asked: Mapping[str, Any]) -> None:
    """Stand where the job would stand if it had been started by its supervisor."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the timer itself stayed behind
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["directory"])
    with Path(os.devnull).open("rb") as nothing, Path(asked["log"]).open("ab") as log:
        os.dup2(nothing.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

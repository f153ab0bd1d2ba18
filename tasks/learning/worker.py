"""The worker: runs a learning job as a process of its own, passes on its progress, and leaves no process behind.

Whatever happens to this process, the job ends with it (see `models.lifeline`). What happens to the job becomes one error
that says what to do.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from data_contracts import errors
from data_contracts.artifact_store import Headline
from data_contracts.errors import FREE_SPACE, OvernightError, StageError, StorageError
from models.jobs import JOBS
from models.lifeline import EXIT_CODE, alive, family, name_of, worker_env
from models.progress import DISK_FULL
from models.sizes import readable
from tasks.costs import add_peak_memory
from tasks.learning.forking import ForkedJob, forked, may_be_forked
from tasks.learning.machines import Group
from tasks.learning.memory import MemoryWatch, memory_there_is

LAUNCHER_SPEAKS = "torch/distributed/elastic/"
"""Stands in the log where the launcher begins to tell which rank failed first; what stands before is the ranks' own."""

POLL_SECONDS = 0.2
SWEEP_SECONDS = 30.0
LOG_LINES = 8
"""Lines of the log's end that an error message quotes."""

LAUNCHER = ("models.lifeline", "accelerate.commands.launch", "--multi_gpu")
ONE_MACHINE = ("--num_machines", "1", "--main_process_port", "0")
LAUNCHER_SETTINGS = ("--mixed_precision", "no", "--dynamo_backend", "no", "--gpu_ids", "all", "--log_dir", os.devnull)
"""`--multi_gpu` also starts CPU ranks, which `--cpu` would not: with that, one process runs however many are asked for. The
settings are stated because the launcher would otherwise take them from a configuration file of the user's, and make a log folder
among the system's temporary files that nobody removes."""


def run_job(
    job: str,
    config: BaseModel,
    inputs: Mapping[str, Path],
    output: Path,
    work: Path,
    log: Path,
    *,
    processes: int = 1,
    group: Group | None = None,
    on_progress: Callable[[Mapping[str, Any]], None] | None = None,
) -> Headline:
    """Run `python -m models JOB`, or what a fork server makes of it, and wait for it.

    A process that an earlier run of the same work left behind is ended first, so two never write the same checkpoints.

    Args:
        job: the job's name.
        config: its configuration.
        inputs: input directories by role.
        output: where the artifact's files go.
        work: where checkpoints, the configuration, the progress and the headline stand; kept, so that a next run goes on.
        log: file that the job's output is appended to; never a pipe, which would break or block with whoever reads it.
        processes: processes that train together, started through accelerate when there is more than one.
        group: machines that these processes are divided among; the headline of one that helps is empty.
        on_progress: called with each `progress` event while the job runs.

    Returns:
        The headline figures of the job.

    Raises:
        OvernightError: the error that the job reported, as it was raised there.
        StageError: the job ended otherwise; the message names the exit code or signal and quotes the end of the log.
    """
    for directory in (work, log.parent):
        directory.mkdir(parents=True, exist_ok=True)
    sweep(work)
    events = _Events(work / "progress.jsonl")
    (work / "config.json").write_text(config.model_dump_json(indent=2) + "\n")
    arguments = _arguments(job, inputs, output, work)
    with log.open("ab") as sink:
        begin = sink.tell()
        if processes == 1 and group is None and may_be_forked(job):
            began = _running_forked(arguments, log, work)
        else:
            began = running([*launch("models", processes, group), *arguments], sink.fileno(), work)
        with began as process:
            memory = MemoryWatch(process.pid, launched=processes > 1)
            code = _follow(process, events, on_progress, memory)
    add_peak_memory(memory.peak)
    if code != 0:
        raise job_error(job, code, events.error, log, begin, memory.peak)
    headline: Headline = {} if group and group.helps else json.loads((work / "headline.json").read_text())
    return headline


@contextmanager
def turn(work: Path) -> Iterator[None]:
    """Have a piece of work to oneself: wait while another run on this machine has it. A holder that dies frees it.

    Without it, a second run of the same work would take the first one's job for an orphan.
    """
    work.parent.mkdir(parents=True, exist_ok=True)
    with work.with_suffix(".lock").open("w") as lock:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(POLL_SECONDS)
        yield


def sweep(work: Path) -> None:
    """End the job that an earlier run of this work left running, if there is one, and wait until it is gone."""
    with suppress(FileNotFoundError):
        name = (work / "pid").read_text().strip()
        if alive(name):
            _end(name)
        (work / "pid").unlink()


def _arguments(job: str, inputs: Mapping[str, Path], output: Path, work: Path) -> list[str]:
    arguments = [job, "--config", str(work / "config.json"), "--output", str(output), "--work", str(work)]
    for role, path in inputs.items():
        arguments += ["--input", f"{role}={path}"]
    return [*arguments, "--progress", str(work / "progress.jsonl")]


def launch(module: str, processes: int, group: Group | None = None) -> list[str]:
    """The beginning of a command that runs a module in so many processes, or this machine's share of them."""
    where = group.launcher_settings if group else ONE_MACHINE
    launcher = [*LAUNCHER, *where, *LAUNCHER_SETTINGS, "--num_processes", str(processes), "--module"] if processes > 1 else []
    return [sys.executable, "-m", *launcher, module]


Process = subprocess.Popen[bytes] | ForkedJob


@contextmanager
def running(command: Sequence[str], log: int, work: Path) -> Iterator[Process]:
    """A command's process, in a group of its own; it and its descendants are gone when the block is left, however it is left."""
    process = subprocess.Popen(command, env=worker_env(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)
    with _held(process, work):
        yield process


@contextmanager
def _running_forked(arguments: Sequence[str], log: Path, work: Path) -> Iterator[Process]:
    """The same of a job that a fork server forks."""
    with forked(arguments, log) as process, _held(process, work):
        yield process


@contextmanager
def _held(process: Process, work: Path) -> Iterator[None]:
    """A process by whose name others know that the work is being done."""
    name = name_of(process.pid)
    try:
        aside = work / "pid.aside"  # so that nobody reads half a name
        aside.write_text(name + "\n")
        aside.replace(work / "pid")
        yield
    finally:
        if process.poll() is None:
            _end(name, process)
        (work / "pid").unlink(missing_ok=True)


def _end(name: str, process: Process | None = None) -> None:
    """Kill a process, its group and its descendants, and wait until they are gone and hold no GPU."""
    pid = int(name.partition(":")[0])
    members = family(pid)  # a launcher's ranks stand in groups of their own
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    for member in members:
        with suppress(ProcessLookupError):
            os.kill(int(member.partition(":")[0]), signal.SIGKILL)
    if process is not None:
        process.wait()
    deadline = time.monotonic() + SWEEP_SECONDS
    while left := [member for member in members if alive(member)]:
        if time.monotonic() > deadline:
            raise StageError(f"process {left[0].partition(':')[0]} of this stage cannot be ended", remedy="end it by hand, then run again")
        time.sleep(POLL_SECONDS / 4)


def _follow(process: Process, events: "_Events", on_progress: Callable[[Mapping[str, Any]], None] | None, memory: MemoryWatch) -> int:
    """Wait for the process, in the thread that started it (its lifeline follows this thread), and pass on its progress; its exit code."""
    code = None
    while code is None:
        memory.look()
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(POLL_SECONDS)
        for event in events.new():
            if event["event"] == "progress" and on_progress:
                on_progress(event)
    return code


class _Events:
    """Reads what a job adds to its progress file; the file of an earlier run is removed."""

    def __init__(self, path: Path) -> None:
        self.error: Mapping[str, Any] | None = None
        self._path, self._offset = path, 0
        path.unlink(missing_ok=True)

    def new(self) -> list[dict[str, Any]]:
        """The events whose lines were finished since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            *lines, rest = file.read().split(b"\n")
            self._offset = file.tell() - len(rest)
        found = [json.loads(line) for line in lines]
        self.error = next((event for event in found if event["event"] == "error"), self.error)
        return found


def job_error(job: str, code: int, reported: Mapping[str, Any] | None, log: Path, begin: int, peak: int | None = None) -> OvernightError:
    """What to raise for a job that ended with this exit code, and perhaps reported an error before; `peak` is its memory in bytes."""
    if reported is not None:
        kind = getattr(errors, reported["type"], StageError)
        error: OvernightError = kind(reported["what"], where=reported["where"], remedy=reported["remedy"])
        return error
    with log.open("rb") as file:
        file.seek(begin)
        text, launched, told = file.read().decode(errors="replace").partition(LAUNCHER_SPEAKS)
    if launched:  # the launcher itself always ends with code 1
        text = text.rpartition("\n")[0]
        code = int((re.findall(r"Root Cause.*?exitcode\s*: (-?\d+)", told, re.DOTALL) or [code])[-1])
    if code == DISK_FULL:
        remedy = f"{FREE_SPACE} and run again: it goes on from its last checkpoint"
        return StorageError(f"the disk is full: the job {job} could not write", where=str(log.parent), remedy=remedy)
    lines = [line for line in text.splitlines() if line.strip()]
    quoted = "\n  ".join(["; the log ends:", *lines[-LOG_LINES:]]) if lines else "; it wrote nothing"
    cause = _more_memory(job) if code == -signal.SIGKILL else "mend the cause and"
    remedy = f"{cause} run again: it goes on from its last checkpoint"
    return StageError(f"the job {job} {_in_words(code, peak)}{quoted}\n", where=str(log), remedy=remedy)


def _more_memory(job: str) -> str:
    less = JOBS[job].less_memory if job in JOBS else ""
    return f"if it was memory, {less}, or give it more; then" if less else "if it was memory, give it more; then"


def _in_words(code: int, peak: int | None) -> str:
    if code == -signal.SIGKILL:
        held = f": a process of it held {readable(peak)} at its peak, of {readable(memory_there_is())} that there are" if peak else ""
        return f"was killed (SIGKILL), as the system does when it is out of memory{held}"
    if code < 0:
        return f"was ended by signal {-code} ({signal.strsignal(-code)})"
    if code == EXIT_CODE:
        return f"ended itself (exit code {code}) because the process that had started it was gone"
    return f"failed with exit code {code}"

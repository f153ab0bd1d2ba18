"""Whole nights that run out of disk or of memory: one clear message, nothing torn, and the next night goes on where they stopped.

The disk is a small file system that really fills up; memory is limited for the learning process alone, by the kernel.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_contracts.home import Home
from tests.flows.nights import command
from tests.tasks.feedback.test_full_disk import ALONE, can_mount

pytestmark = [pytest.mark.flow, pytest.mark.slow]

MIB = 1 << 20
NIGHTS_ON_A_SMALL_DISK = """
import json, os, re, subprocess, sys, time
from pathlib import Path
from data_contracts.artifact_store import verify
from data_contracts.home import Home
from tests.flows.nights import command

disk = Path(sys.argv[1])
home = Home(disk / "home")

def resize(kilobytes, how="remount,"):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{how}size={kilobytes}k", "small", disk], check=True)

def used():
    told = os.statvfs(disk)
    return (told.f_blocks - told.f_bfree) * told.f_frsize // 1024

def night(full_after, room):
    began = time.monotonic()
    with subprocess.Popen(command(home.root), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if full_after and re.search(rf"made\\s+{full_after}\\s", line):
                resize(used() + room)
        error = process.stderr.read()
    resize(2_000_000)
    torn = [str(artifact.directory) for artifact in home.artifacts if verify(artifact)]
    left = [str(path) for path in home.artifacts.root.glob(".staging/*")]
    records = [json.loads(path.read_text()) for path in sorted(home.nights.glob("*.json"))]
    ended = {"code": process.returncode, "seconds": round(time.monotonic() - began, 1), "error": error}
    print(json.dumps({**ended, "torn": torn, "left": left, "records": records}), flush=True)

resize(2_000_000, how="")
for full_after, room in json.loads(sys.argv[2]):
    night(full_after, room)
"""


@pytest.mark.skipif(not can_mount(), reason="this machine lets nobody mount a small disk to be filled")
def test_a_night_on_a_full_disk_says_so_tears_nothing_and_the_next_ends_as_if_there_had_been_room(
    unbroken: tuple[Path, str], tmp_path: Path
) -> None:
    """Full in the pretraining, full in the policy's training, and then there is room."""
    disk = tmp_path / "small"
    disk.mkdir()
    moments = json.dumps([["corpus", 64], ["held-out judge", 64], [None, 0]])
    done = subprocess.run(
        [*ALONE, sys.executable, "-c", NIGHTS_ON_A_SMALL_DISK, str(disk), moments], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *failed, last = [json.loads(line) for line in done.stdout.splitlines()]
    print([(told["seconds"], told["error"], told["records"][-1]["outcome"]) for told in (*failed, last)])
    for told in failed:
        assert told["code"] == 2, told
        (message,) = told["error"].strip().splitlines()
        assert "the disk is full" in message
        assert str(disk) in message
        assert "free some space (`overnight gc --delete`" in message
    assert last["code"] == 0, last["error"]
    assert [told["torn"] + told["left"] for told in (*failed, last)] == [[], [], []]
    expected = json.loads(min((unbroken[0] / "nights").glob("*.json")).read_text())
    assert made(last["records"][-1]) == made(expected)


def made(record: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What a night gave: ids and digests by stage."""
    return [(stage["stage"], stage["artifact_id"], stage["digest"]) for stage in record["stages"]]


LARGE = (
    "--set",
    "policy={updates=1, rollout_batch_size=2048, minibatch_size=2048, microbatch_size=2048, epochs=1, validation_prompts=0, "
    "sampling={max_new_tokens=16}}",
)
"""A policy whose keys and values take tens of megabytes, many times what the rest of the tiny world does."""


def test_a_policy_that_needs_more_memory_than_there_is_says_how_much_and_what_to_lower(unbroken: tuple[Path, str], tmp_path: Path) -> None:
    """First the kernel refuses it more (RLIMIT_AS), then it is killed as the kernel's own killer would."""
    home = Home(Path(shutil.copytree(unbroken[0], tmp_path / "home")))

    error = night_with(home, limit_memory)
    assert re.search("out of memory: .*DefaultCPUAllocator", error), error
    assert re.search(r"memory: about [\d.]+ [GM]iB of [\d.]+ GiB on cpu \(policy .*activations [\d.]+ [GM]iB", error), error
    assert "→ lower policy.microbatch_size (activations)" in error
    assert last_outcome(home).startswith("failed in policy: out of memory")

    error = night_with(home, lambda pid: os.kill(pid, signal.SIGKILL))
    told = re.search(r"the job train_policy was killed \(SIGKILL\), .* held ([\d.]+) MiB at its peak, of [\d.]+ GiB that there are", error)
    assert told is not None, error
    assert float(told[1]) > 50, "torch alone takes more"
    assert "→ if it was memory, lower policy.microbatch_size" in error
    assert last_outcome(home).startswith("failed in policy: the job train_policy was killed (SIGKILL)")

    stages = {stage["stage"]: stage for stage in json.loads(min((home.root / "nights").glob("*.json")).read_text())["stages"]}
    for name in ("base model", "reward model", "policy", "evaluation"):
        assert 50 * MIB < stages[name]["peak_memory"] < 4096 * MIB, "a night that ended well tells it in its record"
        assert stages[name]["cpu_seconds"] > 1
    assert stages["ingest"]["peak_memory"] is None


def night_with(home: Home, meddle: Callable[[int], object]) -> str:
    """Run a night, do something to the policy's learning process once it is about to learn, and give what the failing night says."""
    with subprocess.Popen([*command(home.root), *LARGE], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as night:
        assert night.stderr is not None
        while not (pids := about_to_learn(home)):
            assert night.poll() is None, night.stderr.read()
            time.sleep(0.05)
        meddle(pids[0])
        error = night.stderr.read()
    assert night.returncode == 2, error
    return error


def about_to_learn(home: Home) -> list[int]:
    """The policy's learning process, once it has told what memory it is going to need; the progress of an earlier one is gone by then."""
    found = []
    for path in home.work.glob("*/pid"):
        progress = path.with_name("progress.jsonl")
        if progress.exists() and "memory: about" in progress.read_text():
            found.append(int(path.read_text().partition(":")[0]))
    return found


def limit_memory(pid: int) -> None:
    """Leave a process 8 MiB more than it has."""
    has = int(Path("/proc", str(pid), "statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(pid, resource.RLIMIT_AS, (has + 8 * MIB, has + 8 * MIB))


def last_record(home: Home) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(max(home.nights.glob("*.json")).read_text())
    return found


def last_outcome(home: Home) -> str:
    return str(last_record(home)["outcome"])

"""A disk that is full while feedback lands: one clear error, nothing of it in the lake, and the next run completes once there is room."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data_contracts.home import Home
from tests.tasks.deliveries import deliver_files, write_rows
from tests.tasks.feedback.test_landing_together import rows

pytestmark = pytest.mark.slow

ALONE = ["unshare", "--map-root-user", "--mount"]
"""Runs a command that may mount file systems which it alone sees."""
LAND_ON_A_SMALL_DISK = """
import json, os, subprocess, sys
from pathlib import Path
from data_contracts.artifact_store import verify
from data_contracts.errors import StorageError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from tests.tasks.deliveries import deliver_files

disk, first, second = map(Path, sys.argv[1:])
home = Home(disk / "home")

def resize(kilobytes, how="remount,"):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{how}size={kilobytes}k", "small", disk], check=True)

def used():
    told = os.statvfs(disk)
    return (told.f_blocks - told.f_bfree) * told.f_frsize // 1024

def land():
    error = None
    try:
        deliver_files(home, second)
    except StorageError as full:
        error = str(full)
    batches = [(batch.id, batch.digest, len(verify(batch))) for batch in FeedbackLake(home.lake).batches()]
    print(json.dumps({"error": error, "batches": batches, "left": len(list(home.lake.glob(".staging/*")))}), flush=True)

resize(500_000, how="")
deliver_files(home, first)
for room in (0, 16, 100, 400, 1_000, 2_000, 3_000, 500_000):
    resize(used() + room)
    land()
"""


def can_mount() -> bool:
    try:
        mounted = [*ALONE, "mount", "-t", "tmpfs", "small", "/mnt"]
        return subprocess.run(mounted, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="this machine lets nobody mount a small disk to be filled")
def test_a_disk_that_is_full_at_any_moment_tears_nothing_and_the_next_run_completes(tmp_path: Path) -> None:
    first, second = (write_rows(tmp_path / name / "rows.jsonl", found) for name, found in (("1", rows(0, 300)), ("2", rows(0, 9_000))))
    disk, unbroken = tmp_path / "small", Home(tmp_path / "unbroken")
    disk.mkdir()
    *failed, last = landed([*ALONE, sys.executable, "-c", LAND_ON_A_SMALL_DISK, disk, first, second])
    short = [told for told in failed if told["error"]]
    assert len(short) >= 4
    for told in short:
        assert "the disk is full" in told["error"]
        assert "free some space" in told["error"]
        assert len(told["batches"]) == 1, "what failed is not there"
    expected = [(batch.id, batch.digest, 0) for batch in (deliver_files(unbroken, first), deliver_files(unbroken, second))]
    assert [tuple(batch) for batch in last["batches"]] == expected, "as if there had been room all the time"
    assert [problems for told in failed for *_, problems in told["batches"] if problems] == [], "and what was there stayed whole"
    assert {told["left"] for told in (*failed, last)} == {0}


def landed(command: list[Any]) -> list[dict[str, Any]]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

"""Processes that outlive their starter: known by pid and start time, ended with their descendants; and what is said of an empty home."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_contracts.errors import InputError
from flows.service.installation import Installation, up
from flows.service.processes import FILE, Processes
from flows.service.status import status
from models.lifeline import alive, family, name_of

CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {CHILD!r}]).wait()"


def test_a_process_is_ended_with_its_children_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child ignores SIGTERM, so it is killed in the end."""
    monkeypatch.setattr("flows.service.processes.GRACE_SECONDS", 0.5)
    processes = Processes(tmp_path)
    processes.start("cpu worker", [sys.executable, "-c", PARENT], os.environ)
    name = processes.running()["cpu worker"]
    while "up" not in processes.log("cpu worker").read_text():
        time.sleep(0.05)
    members = family(int(name.partition(":")[0]))
    assert len(members) == 2
    assert Processes(tmp_path).stop("cpu worker")
    assert not any(map(alive, members))
    assert not processes.stop("cpu worker")
    assert alive(name_of(os.getpid()))


def test_what_up_was_told_is_remembered_and_running_workers_are_not_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installation = Installation(tmp_path)
    monkeypatch.setenv("OVERNIGHT_RECIPE", "mine")
    installation.remember()
    monkeypatch.delenv("OVERNIGHT_RECIPE")
    installation.remember()
    assert installation.environment("http://127.0.0.1:1")["OVERNIGHT_RECIPE"] == "mine"
    installation.processes.start("cpu worker", [sys.executable, "-c", "import time; time.sleep(60)"], os.environ)
    try:
        monkeypatch.setenv("OVERNIGHT_RECIPE", "other")
        with pytest.raises(InputError, match="workers are running with OVERNIGHT_RECIPE=mine"):
            installation.remember()
    finally:
        installation.processes.stop("cpu worker")
    installation.remember()
    assert installation.environment("http://127.0.0.1:1")["OVERNIGHT_RECIPE"] == "other"


def test_a_pid_that_another_process_has_by_now_is_not_ours(tmp_path: Path) -> None:
    pid = name_of(os.getpid()).partition(":")[0]
    (tmp_path / FILE).write_text(json.dumps({"server": f"{pid}:1"}))
    assert Processes(tmp_path).running() == {}
    assert not Processes(tmp_path).stop("server")


def test_a_failure_quotes_the_log(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    processes.log("server").write_text("first\n\nno such database\n")
    assert "the server ended; its log ends:\n  first\n  no such database" in str(processes.failure("server", "ended"))


def test_a_home_without_a_server_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (server, nights) = status(tmp_path)
    assert not server.wrong, "nights that are started by hand need no server"
    assert "none was started here" in server.state
    assert (nights.what, nights.wrong) == ("nights", False)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert next(iter(status(tmp_path))).state == "does not answer at http://127.0.0.1:9/api"


@pytest.mark.parametrize(
    ("outcome", "wrong"), [("failed in policy: the disk is full", True), ("interrupted in policy", True), ("nothing new", False)]
)
def test_only_the_last_night_can_be_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, wrong: bool) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "nights").mkdir()
    for day, ended in (("01", "failed in ingest: no file"), ("02", outcome)):
        record = {"night": f"2026-11-{day}T02-00-00.000000Z", "recipe": "mine", "outcome": ended}
        (tmp_path / "nights" / f"{record['night']}.json").write_text(json.dumps(record))
    assert [finding.wrong for finding in status(tmp_path)][1:] == [False, wrong]


def test_a_recipe_whose_last_night_failed_is_wrong_whatever_others_did_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "nights").mkdir()
    for day, (recipe, ended) in enumerate([("mine", "nothing new"), ("mine", "failed in ingest"), *[("other", "nothing new")] * 4], 1):
        record = {"night": f"2026-11-{day:02}T02-00-00.000000Z", "recipe": recipe, "outcome": ended}
        (tmp_path / "nights" / f"{record['night']}.json").write_text(json.dumps(record))
    found = [(finding.state, finding.wrong) for finding in status(tmp_path)][1:]
    assert found == [("mine: failed in ingest", True), *[("other: nothing new", False)] * 3]


def test_events_that_the_server_gave_up_on_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given up on by Prefect's own queue, in the home that an installation gives it."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    script = (
        "import asyncio\nfrom prefect.server.utilities.messaging.memory import MemoryMessage, Topic\n"
        "async def main():\n    topic, message = Topic.by_name('events').subscribe(), MemoryMessage('{}', {})\n"
        "    for _ in range(topic.max_retries + 1): await topic.retry(message)\nasyncio.run(main())"
    )
    installation = Installation(tmp_path)
    assert not any("gave up" in finding.state for finding in status(tmp_path))
    subprocess.run([sys.executable, "-c", script], env=installation.environment("http://127.0.0.1:1"), check=True)
    (told,) = (finding for finding in status(tmp_path) if "gave up" in finding.state)
    assert told.wrong
    assert "gave up on events (1)" in told.state


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} is taken"):
            up(Installation(tmp_path), port, lambda line: None)

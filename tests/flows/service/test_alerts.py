"""Alerts on a real server, delivered to a web server of the test's own; and nights whose processes die, which the server notices."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.service.alerts import DOES_NOT_BEGIN, FELL_SILENT, NEEDS
from models.lifeline import alive, family
from tests.flows.service.inbox import SECRET, Inbox, open_inbox
from tests.flows.service.installed import Installed, overnight
from tests.flows.service.test_deployments import supervisor, wait_for_job

pytestmark = [pytest.mark.slow, pytest.mark.flow]

LIMIT = 0.25
"""Minutes; the job would need hours."""
SILENCE, LATENESS = 60, 10
"""Seconds; the least that may be asked for."""
DELIVERY = 180.0
"""Seconds within which a message is there after the run's end: two or three, where the machine has nothing else to do."""


@pytest.fixture(scope="module")
def inbox(installed: Installed) -> Iterator[Inbox]:
    """Where the installation's alerts go from now on."""
    with open_inbox(installed.home / "service" / "server.log") as inbox:
        set_up(installed, inbox, "--silence", str(SILENCE), "--late", str(LATENESS))
        yield inbox


def set_up(installed: Installed, inbox: Inbox, *times: str) -> None:
    done = overnight("alerts", "--home", str(installed.home), "--alert-url", inbox.url, *times)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert SECRET not in done.stdout + done.stderr


def about(run: dict[str, Any], state: str) -> Any:
    return lambda message: run["id"] in message["body"] and message["subject"].endswith(f": {state}")


def test_said_again_the_first_message_comes_once_the_times_stay_and_the_url_stands_in_the_block_alone(
    installed: Installed, inbox: Inbox
) -> None:
    set_up(installed, inbox)
    assert [message["subject"] for message in inbox.messages].count("Overnight: alerts reach you here") == 1
    automations = installed.ask("POST", "/automations/filter", {})
    times = {one["name"]: one["trigger"]["within"] for one in automations if one["name"].startswith("overnight: ")}
    assert times == {FELL_SILENT: SILENCE, DOES_NOT_BEGIN: LATENESS, NEEDS: 0}
    (block,) = installed.ask("POST", "/block_documents/filter", {"block_documents": {"name": {"any_": ["overnight-alerts"]}}})
    assert SECRET not in str(block)
    assert SECRET not in str(automations)
    files = [path for path in installed.home.rglob("*") if path.is_file() and path.suffix in {".json", ".log", ".toml", ".jsonl", ""}]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_a_stage_that_hangs_is_ended_by_its_limit_and_told(installed: Installed, inbox: Inbox) -> None:
    """Its job is gone, too; the reason, the night and its page are in the message."""
    changes = {"policy": {"updates": 4000, "kl_coef": 0.21}, "run": {"time_limits": {"policy": LIMIT}}}
    run = installed.start("nightly/nightly", changes=changes)
    while not (pids := list(installed.home.glob("work/*/pid"))):
        time.sleep(0.1)
    job = pids[0].read_text().strip()
    ended = installed.wait(run, seconds=120)
    assert ended["state_type"] == "FAILED"
    assert not alive(job)
    message = inbox.wait(about(ended, "Failed"), DELIVERY)
    assert ended["name"] in message["subject"]
    assert f"policy took longer than its limit of {LIMIT} minutes" in message["body"]
    assert f"{installed.address}/runs/flow-run/{run}" in message["body"]
    assert message["text"] == f"{message['subject']}\n{message['body']}"


def test_a_night_that_the_data_gate_stops_is_told_with_its_report(installed: Installed, inbox: Inbox) -> None:
    ended = installed.wait(installed.start("nightly/nightly", changes={"data_gate": {"min_krippendorff_alpha": 0.99}}))
    assert ended["state_name"] == "Stopped"
    body = inbox.wait(about(ended, "Stopped"), DELIVERY)["body"]
    record = installed.nights()[-1]
    assert record["outcome"].startswith("stopped by the data gate")
    assert record["outcome"] in body
    assert record["night"] in body
    assert f":{installed.home / 'report.html'}" in body


def test_a_night_whose_worker_and_process_are_gone_is_crashed_and_the_next_one_is_late_and_both_are_told(
    installed: Installed, inbox: Inbox
) -> None:
    """As when a machine loses its power: SIGKILL of both, so that nobody is left to say how it ended, or to begin the next night.

    With a new worker the late night begins by itself and goes on where the first one was.
    """
    changes = {"policy": {"updates": 5, "kl_coef": 0.22}}
    run = installed.start("nightly/nightly", changes=changes)
    job = (wait_for_job(installed, "policy") / "pid").read_text().strip()
    installed.kill_worker()
    members = family(supervisor(job))
    os.kill(supervisor(job), signal.SIGKILL)
    late = installed.start("nightly/nightly", changes=changes)
    ended = installed.wait(run, seconds=SILENCE + 90)
    assert (ended["state_type"], ended["state"]["message"][:12]) == ("CRASHED", "not heard of")
    assert not any(map(alive, members))
    inbox.wait(about(ended, "Crashed"), DELIVERY)
    told = inbox.wait(lambda message: late in message["body"], DELIVERY)
    assert told["subject"].endswith(": late")
    assert "is there a worker for its pool?" in told["body"]
    assert overnight("up", "--home", str(installed.home)).returncode == 0
    assert installed.wait(late)["state_type"] == "COMPLETED"
    assert next(stage["stage"] for stage in installed.nights()[-1]["stages"] if not stage["reused"]) == "policy"


def test_a_url_that_does_not_answer_well_is_refused_without_being_quoted(tmp_path: Path, installed: Installed, inbox: Inbox) -> None:
    inbox.answer = 404
    refused = overnight("alerts", "--home", str(installed.home), "--alert-url", f"{inbox.url}/other")
    inbox.answer = 200
    assert refused.returncode != 0
    assert "the alert URL answered 404" in refused.stderr
    wrong = overnight("alerts", "--home", str(installed.home), "--alert-url", SECRET)
    assert "the alert URL is no web address" in wrong.stderr
    assert SECRET not in refused.stderr + refused.stdout + wrong.stderr + wrong.stdout
    nowhere = overnight("alerts", "--home", str(tmp_path))
    assert "no server is known" in nowhere.stderr

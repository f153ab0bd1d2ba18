"""The deployments on a real server with two real workers: whole nights, learning stages elsewhere, schedules, kills, refusals."""

import json
import os
import signal
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from flows.service.installation import Installation
from flows.service.processes import Processes
from models.lifeline import SUPERVISOR, alive, family
from tests.flows.service.installed import Installed, overnight

pytestmark = [pytest.mark.slow, pytest.mark.flow]

LEARNING = {"run": {"learning": "learning/gpu"}}
LEARNED = {"reward model", "policy", "evaluation"}
"""What a night with another reward model has to learn anew."""


@pytest.fixture(scope="module")
def night(installed: Installed) -> str:
    """A night whose learning stages ran through the deployment on the gpu pool."""
    return installed.start("nightly/nightly", changes={**LEARNING, "reward_model": {"learning_rate": 1e-3}})


def test_a_night_learns_on_the_gpu_pool_and_shows_itself(installed: Installed, night: str) -> None:
    ended = installed.wait(night)
    assert ended["state_type"] == "COMPLETED", ended["state"]
    record = installed.nights()[-1]
    assert {stage["stage"] for stage in record["stages"] if not stage["reused"]} >= LEARNED
    assert ended["state"]["message"].startswith(f"{record['outcome']}\n")
    learned = installed.runs("gpu")
    assert {run["name"] for run in learned} == LEARNED
    assert {(run["work_pool_name"], run["state_name"]) for run in learned} == {("gpu", "Completed")}
    made = {stage["artifact_id"] for stage in record["stages"] if stage["stage"] in LEARNED}
    replies = [artifact for run in learned for artifact in installed.artifacts(run["id"]) if artifact["type"] == "result"]
    assert {json.loads(reply["data"])["result"]["artifact_id"] for reply in replies} == made
    shown = {artifact["key"]: artifact for artifact in installed.artifacts(night)}
    assert {"tiny-agreement", "tiny-data-gate", "tiny-evaluation", "tiny-gate", "tiny-summary"} <= set(shown)
    assert record["report"] in shown["tiny-summary"]["data"]
    assert Path(record["report"]).exists()


def test_a_policy_learns_on_two_machines(installed: Installed, night: str, tmp_path: Path) -> None:
    """Two workers of the pool gpu, each of which runs one of the policy's two processes."""
    installed.wait(night)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "gpu", "--type", "process", "--limit", "1", "--name", "gpu-2"]
    second = Processes(tmp_path)
    second.start("second gpu worker", command, Installation(installed.home).environment(installed.address))
    try:
        together = {"run": {**LEARNING["run"], "machines": {"policy": 2}}, "policy": {"processes": 2, "kl_coef": 0.15}}
        ended = installed.wait(installed.start("nightly/nightly", changes=together))
    finally:
        second.stop("second gpu worker")
    assert ended["state_type"] == "COMPLETED", ended["state"]
    runs = {run["name"]: run for run in installed.runs("gpu") if run["name"].startswith("policy") and run["parameters"].get("group")}
    assert {name: run["state_name"] for name, run in runs.items()} == {"policy": "Completed", "policy, machine 2": "Completed"}
    assert {run["parameters"]["group"].get("rank", 0) for run in runs.values()} == {0, 1}
    (made,) = (stage for stage in installed.nights()[-1]["stages"] if stage["stage"] == "policy")
    assert not made["reused"]
    assert not list(installed.home.glob("work/machine-*"))
    logs = {path.stem.partition(made["artifact_id"][:16])[2] for path in installed.home.glob(f"logs/policy-{made['artifact_id'][:16]}*")}
    assert logs == {"", "-machine-2"}


def test_status_finds_nothing_wrong_and_up_changes_nothing(installed: Installed, night: str) -> None:
    installed.wait(night)
    before = (installed.home / "service" / "processes.json").read_text()
    again = overnight("up", "--home", str(installed.home))
    assert again.returncode == 0, again.stderr
    assert (installed.home / "service" / "processes.json").read_text() == before
    status = overnight("status", "--home", str(installed.home))
    assert status.returncode == 0, status.stdout
    assert "WRONG" not in status.stdout


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"policy": {"updates": 0}}, "changes.policy.updates"),
        ({"quality": {"resamples": "many"}}, "changes.quality.resamples"),
        ({"base_model": {"source": "/etc"}}, "changes.base_model"),
        ({"ingest": {"sources": [{"name": "x", "path": "/etc/passwd"}]}}, "changes.ingest"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(installed: Installed, changes: dict[str, object], field: str) -> None:
    assert field in installed.refusal("nightly/nightly", {"changes": changes})


def test_a_killed_night_is_crashed_and_the_scheduled_one_goes_on(installed: Installed, night: str) -> None:
    """SIGKILL of the flow's process while the policy learns in it: its job dies with it; the night that cron starts goes on."""
    installed.wait(night)
    changes = {"policy": {"updates": 6, "kl_coef": 0.2}}
    run = installed.start("nightly/nightly", changes=changes)
    job = (wait_for_job(installed, "policy") / "pid").read_text().strip()
    os.kill(supervisor(job), signal.SIGKILL)
    assert installed.wait(run)["state_type"] == "CRASHED"
    assert not alive(job)
    schedules = f"/deployments/{installed.deployment('nightly/nightly')['id']}/schedules"
    soon = datetime.now(ZoneInfo("Asia/Kolkata")) + timedelta(
        seconds=85
    )  # 25 s to the full minute at least: the scheduler looks every 10 s
    cron = {"cron": f"{soon.minute} {soon.hour} * * *", "timezone": "Asia/Kolkata"}
    (made,) = installed.ask("POST", schedules, [{"schedule": cron, "active": True, "parameters": {"changes": changes}}])
    n, deadline = len(installed.nights()), time.monotonic() + 600
    while len(installed.nights()) == n:
        assert time.monotonic() < deadline
        time.sleep(1)
    installed.ask("DELETE", f"{schedules}/{made['id']}")
    assert next(stage["stage"] for stage in installed.nights()[n]["stages"] if not stage["reused"]) == "policy"
    assert "gate" in installed.nights()[n]["outcome"]


def test_a_cancelled_night_is_recorded_as_interrupted(installed: Installed, night: str) -> None:
    """Cancelled while its learning run waits on the gpu pool: both end as cancelled, and the lock is free again."""
    installed.wait(night)
    run = installed.start("nightly/nightly", changes={**LEARNING, "policy": {"updates": 40, "kl_coef": 0.3}})
    job = (wait_for_job(installed, "policy") / "pid").read_text().strip()
    installed.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    assert installed.wait(run)["state_type"] == "CANCELLED"
    assert installed.nights()[-1]["outcome"] == "interrupted in policy"
    last = max(installed.runs("gpu"), key=lambda one: one["created"])
    assert installed.wait(last["id"])["state_type"] == "CANCELLED"
    assert not alive(job)


def wait_for_job(installed: Installed, kind: str) -> Path:
    """The work folder of a learning job that has written a checkpoint's worth of progress."""
    deadline = time.monotonic() + 600
    while True:
        for log in installed.home.glob(f"logs/{kind}-*.log"):
            work = installed.home / "work" / log.stem.rpartition("-")[2]
            if (work / "pid").exists() and (work / "progress.jsonl").exists() and '"progress"' in (work / "progress.jsonl").read_text():
                return work
        assert time.monotonic() < deadline
        time.sleep(0.2)


def supervisor(job: str) -> int:
    """The process whose job this is."""
    said = Path("/proc", job.partition(":")[0], "environ").read_text().split("\0")
    (name,) = (value for word in said for key, _, value in [word.partition("=")] if key == SUPERVISOR)
    pid = int(name.partition(":")[0])
    assert job in family(pid)
    return pid

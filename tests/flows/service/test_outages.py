"""A night on a server that is started anew, and one whose worker is killed: both go on by themselves."""

import pytest

from flows.service.installation import SERVER, Installation
from tests.flows.service.installed import Installed, overnight
from tests.flows.service.test_deployments import wait_for_job

pytestmark = [pytest.mark.slow, pytest.mark.flow]


def test_a_night_goes_on_while_its_server_is_started_anew(installed: Installed) -> None:
    run = installed.start("nightly/nightly", changes={"policy": {"updates": 8, "kl_coef": 0.23}})
    wait_for_job(installed, "policy")
    assert Installation(installed.home).processes.stop(SERVER)
    assert overnight("up", "--home", str(installed.home)).returncode == 0
    ended = installed.wait(run)
    assert ended["state_type"] == "COMPLETED", ended["state"]
    assert "gate" in installed.nights()[-1]["outcome"]


def test_a_night_goes_on_when_its_worker_is_killed(installed: Installed) -> None:
    run = installed.start("nightly/nightly", changes={"policy": {"updates": 8, "kl_coef": 0.24}})
    wait_for_job(installed, "policy")
    installed.kill_worker()
    ended = installed.wait(run)
    assert ended["state_type"] == "COMPLETED", ended["state"]
    assert overnight("up", "--home", str(installed.home)).returncode == 0

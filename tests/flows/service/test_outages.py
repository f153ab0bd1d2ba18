"""A night goes on by itself whose worker is killed and whose server is started anew."""

import pytest

from flows.service.installation import SERVER, Installation
from tests.flows.service.installed import Installed, overnight
from tests.flows.service.test_deployments import wait_for_job

pytestmark = [pytest.mark.slow, pytest.mark.flow]


def test_a_night_goes_on_without_the_worker_that_began_it_and_while_its_server_is_started_anew(installed: Installed) -> None:
    run = installed.start("nightly/nightly", changes={"policy": {"updates": 8, "kl_coef": 0.23}})
    wait_for_job(installed, "policy")
    installed.kill_worker()
    assert Installation(installed.home).processes.stop(SERVER)
    assert overnight("up", "--home", str(installed.home)).returncode == 0
    ended = installed.wait(run)
    assert ended["state_type"] == "COMPLETED", ended["state"]
    assert "gate" in installed.nights()[-1]["outcome"]

"""A night whose server is started anew goes on by itself."""

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

"""One installation for all tests of this folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.ports import free_port
from tests.flows.nights import TINY
from tests.flows.service.installed import Installed, overnight


@pytest.fixture(scope="session")
def installed(unbroken: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """`overnight up` in a home with one night of the tiny world, which is its own recipe; stopped at the end, whatever happened."""
    home, recipes = tmp_path_factory.mktemp("installed") / "home", tmp_path_factory.mktemp("recipes")
    shutil.copytree(unbroken[0], home)
    shutil.copy(TINY, recipes / "tiny.toml")
    port = str(free_port())
    up = ("up", "--home", str(home), "--port", port, "--recipe", "tiny", "--recipes", str(recipes))
    try:
        done = overnight(*up, env={"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "10"})  # a schedule that a test adds is seen in time
        assert done.returncode == 0, done.stdout + done.stderr
        yield Installed(home, f"http://127.0.0.1:{port}")
    finally:
        overnight("down", "--home", str(home))

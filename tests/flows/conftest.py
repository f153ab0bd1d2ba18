"""What whole nights share."""

import shutil
from pathlib import Path

import pytest

from tasks.learning.worker import turn
from tests.flows.nights import run


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[Path, str]:
    """A home of this process's own in which one night ran without a break, and what that night printed.

    The night runs once for all processes that test; each has a copy of its home.
    """
    own = tmp_path_factory.getbasetemp()
    shared = (own if worker_id == "master" else own.parent) / "the-unbroken-night"
    made, said = shared / "home", shared / "said.txt"
    with turn(shared / "night"):
        if not said.exists():
            said.write_text(run(made))
    home = Path(shutil.copytree(made, tmp_path_factory.mktemp("unbroken") / "home"))
    return home, said.read_text().replace(str(made), str(home))

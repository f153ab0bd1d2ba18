"""What whole nights share."""

from pathlib import Path

import pytest

from tests.flows.nights import run


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home in which one night ran without a break, and what that night printed."""
    home = tmp_path_factory.mktemp("unbroken") / "home"
    return home, run(home)

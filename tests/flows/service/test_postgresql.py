"""Prefect's server on a real PostgreSQL of the test's own: the installation comes up on it, a night runs, and its runs stand in it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.ports import free_port
from tests.flows.nights import TINY
from tests.flows.service.installed import Installed, overnight

pytestmark = [pytest.mark.slow, pytest.mark.flow]
PROGRAMS = ("initdb", "pg_ctl", "psql")
DATABASE = "prefect"
SERVER_USER: dict[str, Any] = {"user": "nobody"} if os.geteuid() == 0 else {}
"""PostgreSQL does not run as root."""


@pytest.fixture
def database() -> Iterator[list[str]]:
    """How psql reaches a server of the test's own, on a free port of this machine."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        pytest.skip(f"PostgreSQL is not installed: {', '.join(missing)} not found")
    folder, port = Path(tempfile.mkdtemp(prefix="postgresql-")), str(free_port())  # not below pytest's folders, which are root's alone
    if SERVER_USER:
        shutil.chown(folder, **SERVER_USER)
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    run("initdb", "--pgdata", str(folder / "data"), "--username", DATABASE, "--auth", "trust", "--encoding", "UTF8", cwd=folder)
    run("pg_ctl", "--pgdata", str(folder / "data"), "--log", str(folder / "log"), "--options", options, "--wait", "start", cwd=folder)
    psql = ["psql", "--host", "127.0.0.1", "--port", port, "--username", DATABASE, "--no-align", "--tuples-only"]
    try:
        run(*psql, "--dbname", "postgres", "--command", f"create database {DATABASE}", cwd=folder)
        yield [*psql, "--dbname", DATABASE]
    finally:
        run("pg_ctl", "--pgdata", str(folder / "data"), "--mode", "immediate", "stop", cwd=folder)
        shutil.rmtree(folder)


def run(*command: str, cwd: Path) -> str:
    """What a program of PostgreSQL's says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=cwd, **SERVER_USER)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_a_night_runs_on_a_server_with_postgresql(database: list[str], unbroken: tuple[Path, str], tmp_path: Path) -> None:
    home, recipes, port = tmp_path / "home", tmp_path / "recipes", str(free_port())
    shutil.copytree(unbroken[0], home)
    recipes.mkdir()
    shutil.copy(TINY, recipes / "tiny.toml")
    place = f"postgresql+asyncpg://{DATABASE}@127.0.0.1:{database[database.index('--port') + 1]}/{DATABASE}"
    environment = {"PREFECT_API_DATABASE_CONNECTION_URL": place}
    up = ("up", "--home", str(home), "--port", port, "--recipe", "tiny", "--recipes", str(recipes))
    try:
        done = overnight(*up, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        installed = Installed(home, f"http://127.0.0.1:{port}")
        ended = installed.wait(installed.start("nightly/nightly"))
        assert ended["state_name"] == "Completed"
        assert ended["state"]["message"].startswith("nothing new")
        question = "select f.name, r.state_name from flow_run r join flow f on f.id = r.flow_id where r.state_type = 'COMPLETED'"
        assert "nightly|Completed" in run(*database, "--command", question, cwd=Path("/")).splitlines()
        assert not list((home / "service").rglob("*.db")), "nothing of it stands in SQLite"
    finally:
        overnight("down", "--home", str(home))

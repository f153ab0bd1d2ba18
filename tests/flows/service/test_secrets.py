"""Secrets of the environment: a night on a server that asks for a password, with each of them planted, and then everything is searched.

Files are searched as they lie on disk, and what is compressed in them (Parquet, DuckDB) or may be cut in two (SQLite) as rows, too.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import duckdb
import psutil
import pyarrow.parquet as pq
import pytest

from data_contracts.sql_text import quoted
from flows.ports import free_port
from flows.service.installation import Installation
from models.lifeline import family
from tests.flows.nights import TINY
from tests.flows.service.installed import Installed, overnight

pytestmark = [pytest.mark.slow, pytest.mark.flow]

PLANTED = {
    "OVERNIGHT_PSEUDONYM_KEY": "planted-pseudonym-key-4711",
    "AWS_SECRET_ACCESS_KEY": "planted-aws-secret-4711",
    "AWS_SESSION_TOKEN": "planted-aws-token-4711",
    "HF_TOKEN": "planted-hub-token-4711",
    "PREFECT_SERVER_API_AUTH_STRING": "planted:api-password-4711",
}
PRIVACY = "\n[ingest.privacy]\npseudonymise_annotators = true\n"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """An installation whose server asks for a password and whose environment holds the secrets; after one night of the tiny world."""
    root = tmp_path_factory.mktemp("guarded")
    home, recipes, port = root / "home", root / "recipes", str(free_port())
    recipes.mkdir()
    (recipes / "tiny.toml").write_text(TINY.read_text() + PRIVACY)
    try:
        done = overnight("up", "--home", str(home), "--port", port, "--recipe", "tiny", "--recipes", str(recipes), env=PLANTED)
        assert done.returncode == 0, done.stdout + done.stderr
        installed = Installed(home, f"http://127.0.0.1:{port}", password=PLANTED["PREFECT_SERVER_API_AUTH_STRING"])
        ended = installed.wait(installed.start("nightly/nightly"))
        assert ended["state_type"] == "COMPLETED", ended["state"]
        yield installed
    finally:
        overnight("down", "--home", str(home))


def test_the_server_listens_on_this_machine_alone_and_asks_for_its_password(guarded: Installed) -> None:
    name = Installation(guarded.home).processes.running()["server"]
    processes = [psutil.Process(int(member.partition(":")[0])) for member in family(int(name.partition(":")[0]))]
    heard = {one.laddr.ip for process in processes for one in process.net_connections() if one.status == psutil.CONN_LISTEN}
    assert heard == {"127.0.0.1"}
    for password in ("", "planted:guessed"):
        assert Installed(guarded.home, guarded.address, password).response("POST", "/flow_runs/filter", {}).status_code == 401
    status = overnight("status", "--home", str(guarded.home), env={"PREFECT_API_AUTH_STRING": guarded.password})
    assert status.returncode == 0, status.stdout


def test_a_crafted_run_reads_no_file_and_runs_no_command_of_its_own(guarded: Installed, tmp_path: Path) -> None:
    """What the form leaves out is refused by the server, files of `learning` by the worker, and a job's command by the pool's template."""
    assert "changes.policy" in guarded.refusal("nightly/nightly", {"changes": {"policy": {"prompt_files": ["/etc/passwd"]}}})
    assert "changes.policy" in guarded.refusal(
        "nightly/nightly", {"changes": {"policy": {"rewards": [{"kind": "function", "function": "os:system"}]}}}
    )
    start, proof = f"/deployments/{guarded.deployment('learning/gpu')['id']}/create_flow_run", tmp_path / "proof"
    crafted = {"stage": "policy", "config": {"prompt_files": ["/etc/passwd"]}, "inputs": {}}
    for variables in ({"command": f"touch {proof}"}, {"env": {"OVERNIGHT_DATA": "/etc"}}, {"working_dir": "/etc"}):
        answer = guarded.response("POST", start, {"parameters": crafted, "job_variables": variables})
        assert answer.status_code == 422, answer.text
        assert "Additional properties are not allowed" in answer.text
    ended = guarded.wait(guarded.start("learning/gpu", **crafted))
    assert ended["state_name"] == "Failed"
    assert "/etc/passwd is not in a folder that runs may read here" in ended["state"]["message"]
    assert not proof.exists()


def test_no_secret_is_written_anywhere(guarded: Installed, tmp_path: Path) -> None:
    """The home with lake, artifacts, report, audit database, logs and Prefect's own home and database; and a version given away."""
    exported = overnight("export", "candidate", "--home", str(guarded.home), "--to", str(tmp_path / "given"))
    assert exported.returncode == 0, exported.stderr
    secrets = [part for secret in PLANTED.values() for part in secret.split(":") if "4711" in part]
    searched, found = 0, []
    for path in (*guarded.home.rglob("*"), *(tmp_path / "given").rglob("*")):
        if path.is_file() and not path.is_symlink():
            searched += 1
            found += [f"{secret} in {path}" for secret in secrets for text in texts(path) if secret in text]
    assert searched > 100
    assert found == []
    assert any("pseudonym" in path.read_text() for path in guarded.home.glob("nights/*.json")), "or the key was never used"


def texts(path: Path) -> Iterator[str]:
    """What a file holds, as it lies there and as rows."""
    yield path.read_bytes().decode(errors="replace")
    if path.suffix == ".parquet":
        yield str(pq.read_table(path).to_pylist())
    elif path.suffix == ".duckdb":
        with duckdb.connect(path, read_only=True) as connection:
            for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall():
                yield str(connection.execute(f'from "{name}"').fetchall())
    elif path.suffix == ".db":
        with sqlite3.connect(path) as connection:
            yield from connection.iterdump()


def test_the_search_finds_what_is_compressed(tmp_path: Path) -> None:
    """Of each kind of file: the secret is planted in it."""
    secret, many = "planted-" + "4711" * 30, 500
    with duckdb.connect(tmp_path / "a.duckdb") as connection:
        connection.execute(f"create table t as select {quoted(secret)} as s from range({many})")
        connection.execute(f"copy t to {quoted(tmp_path / 'a.parquet')} (compression zstd)")
    with sqlite3.connect(tmp_path / "a.db") as database:
        database.execute("create table t (s text)")
        database.execute("insert into t values (?)", [("x" * 5000) + secret])
    for path in tmp_path.iterdir():
        assert any(secret in text for text in texts(path)), path

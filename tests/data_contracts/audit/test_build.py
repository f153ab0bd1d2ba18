"""Building the audit database: whole or not at all, readable from anywhere, and never in anybody's way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from data_contracts.audit.build import rebuild_audit_database
from data_contracts.audit.catalog import relations
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from tests.data_contracts.audit.conftest import Ask

EXAMPLES = {
    "judgments_as_of": "now()",
    "judgments_of_model": "(select max(artifact_id) from artifacts where kind = 'policy')",
    "made_from": "(select max(artifact_id) from artifacts where kind = 'policy')",
    "lineage_of": "(select max(artifact_id) from artifacts where kind = 'policy')",
    "used_by": "'day.jsonl'",
}
"""An argument for each macro."""
COUNT_ALL = """
import json, sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
ask = "select count(*), max(t::varchar) from {} as t"
counts = {name: connection.execute(ask.format(name)).fetchall()[0][0] for name in json.loads(sys.argv[2])}
print(json.dumps({"version": duckdb.__version__, "counts": counts}))
"""


@pytest.fixture
def own_home(home: Home, tmp_path: Path) -> Home:
    """A copy of the small home that a test may change, without a database."""
    copied = Home(Path(shutil.copytree(home.root, tmp_path / "copy")))
    copied.audit_database.unlink()
    return copied


def everything(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Every table and view, and a call of every macro."""
    return [one.name if not one.parameters else f"{one.name}({EXAMPLES[one.name]})" for one in relations(connection)]


def counts(path: Path, opened_as: str = "") -> dict[str, int]:
    """The number of rows of everything, as a client gives it that opens or attaches the file."""
    with duckdb.connect() as connection:
        connection.execute(f"attach '{str(path).replace(chr(39), chr(39) * 2)}' as {opened_as or 'audit'} (read_only)")
        connection.execute(f"use {opened_as or 'audit'}")
        return {name: connection.execute(f"select count(*) from {name}").fetchall()[0][0] for name in everything(connection)}


def nights(path: Path) -> int:
    with duckdb.connect(path, read_only=True) as connection:
        return int(connection.execute("select count(*) from nights").fetchall()[0][0])


def add_night(home: Home, name: str) -> None:
    record = {"night": name, "recipe": "test", "outcome": "nothing new", "seconds": 1.0, "stages": []}
    (home.nights / f"{name}.json").write_text(json.dumps(record))


def test_everything_says_what_it_holds(ask: Ask) -> None:
    assert ask("select table_name from duckdb_tables() where comment is null or not starts_with(comment, 'one row')") == []
    assert ask("select view_name from duckdb_views() where not internal and (comment is null or not starts_with(comment, 'one row'))") == []
    bare = "select function_name from duckdb_functions() where not internal and (comment is null or not starts_with(comment, 'one row'))"
    assert ask(bare) == []
    assert ask("select table_name, column_name from duckdb_columns() where not internal and comment is null") == []


def test_it_can_be_moved_attached_under_any_name_and_read_from_any_directory(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = counts(home.audit_database)
    shutil.copy(home.audit_database, tmp_path / "elsewhere.duckdb")
    monkeypatch.chdir("/")
    assert counts(tmp_path / "elsewhere.duckdb", "another_name") == expected


@pytest.mark.skipif("OVERNIGHT_DUCKDB_1_PYTHON" not in os.environ, reason="OVERNIGHT_DUCKDB_1_PYTHON names no Python with a DuckDB 1.x")
def test_a_client_of_duckdb_1_reads_everything(home: Home) -> None:
    expected = counts(home.audit_database)
    command = [os.environ["OVERNIGHT_DUCKDB_1_PYTHON"], "-c", COUNT_ALL, str(home.audit_database), json.dumps(list(expected))]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert told["version"].startswith("1.")
    assert told["counts"] == expected


def test_with_its_records_in_it_it_needs_no_other_file(own_home: Home, tmp_path: Path) -> None:
    viewed = counts(rebuild_audit_database(own_home))
    kept = rebuild_audit_database(own_home, materialise=True)
    alone = kept.rename(tmp_path / "alone.duckdb")
    shutil.rmtree(own_home.root)
    assert counts(alone) == viewed


def test_records_are_views_unless_they_are_asked_to_be_kept(ask: Ask) -> None:
    kept = {name for (name,) in ask("select table_name from duckdb_tables()")}
    assert not kept & {"judgment_revisions", "comparison_revisions", "refused_rows", "all_preferences", "all_samples", "judgments"}
    assert {"batches", "quality", "all_quality", "quarantine_state", "annotator_activity"} - kept == {"quality"}
    assert ask("select materialised from built") == [(False,)]


def test_an_empty_home_gives_everything_empty(tmp_path: Path) -> None:
    found = counts_without_arguments(rebuild_audit_database(Home(tmp_path)))
    assert found.pop("built") == 1
    assert set(found.values()) == {0}
    assert {"judgments", "quarantine", "annotator_quality", "samples"} <= found.keys()


def counts_without_arguments(path: Path) -> dict[str, int]:
    with duckdb.connect(path, read_only=True) as connection:
        names = [one.name for one in relations(connection) if not one.parameters]
        return {name: connection.execute(f"select count(*) from {name}").fetchall()[0][0] for name in names}


def test_views_follow_files_that_change_in_place(own_home: Home) -> None:
    """As `overnight forget` changes them, under a reader that stays connected."""
    batch = FeedbackLake(own_home.lake).batches()[0]
    path = batch.path / "judgments.parquet"
    with duckdb.connect(rebuild_audit_database(own_home), read_only=True) as connection:
        before = connection.execute("select count(*) from judgment_revisions").fetchall()[0][0]
        table = pq.read_table(path)
        pq.write_table(table.slice(10), path.with_name("aside"))
        path.with_name("aside").replace(path)
        assert connection.execute("select count(*) from judgment_revisions").fetchall() == [(before - 10,)]


def test_a_reader_keeps_the_old_one_while_a_new_one_takes_its_place(own_home: Home) -> None:
    path = rebuild_audit_database(own_home)
    with duckdb.connect(path, read_only=True) as reader:
        add_night(own_home, "2026-02-01")
        rebuild_audit_database(own_home)
        assert reader.execute("select count(*) from nights").fetchall() == [(3,)]
        assert reader.execute("select count(*) from judgments").fetchall() != [(0,)]
    assert nights(path) == 4


def test_a_writer_that_has_it_open_is_in_nobodys_way_and_leaves_nothing(own_home: Home) -> None:
    """A plain client opens read-write: its changes, also those of a client that was killed, do not reach the next database."""
    path = rebuild_audit_database(own_home)
    with duckdb.connect(path) as writer:
        writer.execute("pragma disable_checkpoint_on_shutdown; create table mine as select 1")
        log = path.with_name(f"{path.name}.wal")
        left = log.read_bytes()
        rebuild_audit_database(own_home)
        assert nights(Path(shutil.copy(path, path.with_name("copied.duckdb")))) == 3
    log.write_bytes(left)
    rebuild_audit_database(own_home)
    with duckdb.connect(path) as connection:
        assert connection.execute("select count(*) from duckdb_tables() where table_name = 'mine'").fetchall() == [(0,)]


def test_rebuilds_at_once_take_turns_and_the_last_has_seen_everything(own_home: Home) -> None:
    ready = threading.Barrier(3)

    def rebuild(number: int) -> None:
        add_night(own_home, f"2026-02-0{number + 1}")
        ready.wait()
        rebuild_audit_database(own_home)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(rebuild, range(3)))
    assert nights(own_home.audit_database) == 6
    assert not list(own_home.root.glob(".audit.duckdb*"))


@pytest.mark.slow
def test_a_rebuild_that_is_killed_leaves_the_old_one(own_home: Home) -> None:
    """Killed by SIGKILL when all is written and nothing renamed; the next one sweeps what it left."""
    path = rebuild_audit_database(own_home)
    add_night(own_home, "2026-02-01")
    code = (
        "import os, signal, sys; from pathlib import Path; from data_contracts.home import Home\n"
        "from data_contracts.audit.build import rebuild_audit_database\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "rebuild_audit_database(Home(Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(own_home.root)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert nights(path) == 3
    assert list(own_home.root.glob(".audit.duckdb*"))
    assert nights(rebuild_audit_database(own_home)) == 4
    assert not list(own_home.root.glob(".audit.duckdb*"))

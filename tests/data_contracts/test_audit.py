"""The audit database, over a lake and artifacts small enough to count by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.audit import rebuild_audit_database
from data_contracts.feedback_lake import BATCH, COMPARISONS, JUDGMENTS, QUARANTINED, FeedbackLake
from data_contracts.home import Home
from data_contracts.manifest import Identity
from data_contracts.records import COMPARISON, JUDGMENT, PREFERENCE, PROMPT, QUARANTINE

PROMPT_MESSAGES = [{"role": "user", "content": "say hello"}]


def comparison(number: int) -> dict[str, Any]:
    return {
        "comparison_id": f"c{number}",
        "prompt_id": f"p{number}",
        "slice": "greetings",
        "prompt": PROMPT_MESSAGES,
        "response_a": "hello",
        "response_b": "go away",
        "source": "s",
        "source_file": "f.jsonl",
        "source_row": number,
    }


def judgment(number: int, revision: int, verdict: str, op: str = "assert") -> dict[str, Any]:
    return {
        "judgment_id": f"j{number}",
        "revision": revision,
        "op": op,
        "comparison_id": f"c{number}",
        "annotator_id": "ann",
        "annotator_kind": "human",
        "verdict": verdict,
        "source": "s",
        "source_file": "f.jsonl",
        "source_row": number,
    }


BROKEN = {"source": "s", "source_file": "f.jsonl", "source_row": 9, "reason": "missing_verdict", "detail": "it's empty", "raw": "{}"}
PREFERRED = {
    "comparison_id": "c1",
    "prompt_id": "p1",
    "split": "train",
    "slice": "greetings",
    "prompt": PROMPT_MESSAGES,
    "chosen": "hello",
    "rejected": "go away",
    "probability": 1.0,
    "weight": 1.0,
    "n_judgments": 1,
    "n_chosen": 1,
    "n_rejected": 0,
    "tie_probability": 0.0,
}


def land(home: Home, name: str, comparisons: list[Any], judgments: list[Any], quarantined: list[Any]) -> Artifact:
    def write(directory: Path) -> dict[str, int]:
        pq.write_table(COMPARISON.table(comparisons), directory / COMPARISONS)
        pq.write_table(JUDGMENT.table(judgments), directory / JUDGMENTS)
        pq.write_table(QUARANTINE.table(quarantined), directory / QUARANTINED)
        (directory / "delivery.json").write_text(name)
        return {"rows_read": len(judgments) + len(quarantined), "rows_accepted": len(judgments), "rows_quarantined": len(quarantined)}

    return FeedbackLake(home.lake).land(Identity(kind=BATCH, code_version=name), write).artifact


def make_preferences(home: Home, version: str, rows: list[Any], source: Artifact) -> Artifact:
    def write(directory: Path) -> dict[str, int]:
        pq.write_table(PREFERENCE.table(rows), directory / "preferences.parquet")
        pq.write_table(PROMPT.table([]), directory / "prompts.parquet")
        return {"preferences": len(rows)}

    identity = Identity(kind="preferences", code_version=version, inputs=(source.manifest.as_input("batch"),))
    return home.artifacts.make(identity, write).artifact


def record_night(home: Home, night: str, artifact: Artifact) -> None:
    stage = {"stage": "preferences", "kind": artifact.kind, "artifact_id": artifact.id, "reused": False, "seconds": 1.0, "headline": {}}
    home.nights.mkdir(parents=True, exist_ok=True)
    record = {"night": night, "recipe": "test", "outcome": "made", "seconds": 2.0, "stages": [stage]}
    (home.nights / f"{night}.json").write_text(json.dumps(record))


def small_home(root: Path) -> Home:
    """Two deliveries: the second corrects judgment 1, takes back judgment 2 and quarantines a row. Two nights of preferences."""
    home = Home(root)
    first = land(home, "first", [comparison(n) for n in (1, 2, 3)], [judgment(n, 0, "a") for n in (1, 2, 3)], [])
    land(home, "second", [], [judgment(1, 1, "b"), judgment(2, 1, "a", "retract")], [BROKEN])
    record_night(home, "2026-01-01", make_preferences(home, "old", [PREFERRED, {**PREFERRED, "comparison_id": "c3"}], first))
    record_night(home, "2026-01-02", make_preferences(home, "new", [PREFERRED], first))
    return home


GONE = 2**22 + 1  # no process has this number: Linux gives none above 2^22


Ask = Callable[[str], list[Any]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Asks the database after it was moved away from everything that it was built from."""
    tmp_path = tmp_path_factory.mktemp("audit")
    home = small_home(tmp_path / "it's=home")
    moved = tmp_path / "elsewhere.duckdb"
    rebuild_audit_database(home).rename(moved)
    home.root.rename(tmp_path / "gone")
    connection = duckdb.connect(moved, read_only=True)
    return lambda question: connection.execute(question).fetchall()


def test_what_stands_now_and_what_came(ask: Ask) -> None:
    assert ask("select judgment_id, revision, verdict from judgments order by 1") == [("j1", 1, "b"), ("j3", 0, "a")]
    assert ask("select count(*) from judgment_revisions") == [(5,)]
    assert ask("select comparison_id from comparisons order by 1") == [("c1",), ("c2",), ("c3",)]
    assert ask("select source_row, reason, detail from quarantine") == [(9, "missing_verdict", "it's empty")]
    assert ask("select sum(rows_read) = sum(rows_accepted) + sum(rows_quarantined) from batches") == [(True,)]


def test_a_stage_view_shows_the_last_night_and_the_table_behind_it_all_of_them(ask: Ask) -> None:
    assert ask("select comparison_id from preferences") == [("c1",)]
    assert ask("select count(*), count(distinct artifact_id) from all_preferences") == [(3, 2)]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("comparisons", "comparison_id"),
        ("judgments", "judgment_id"),
        ("judgment_revisions", "judgment_id, revision"),
        ("quarantine", "source, source_file, source_row"),
        ("preferences", "comparison_id"),
        ("all_preferences", "artifact_id, comparison_id"),
        ("artifacts", "artifact_id"),
        ("files", "artifact_id, path"),
        ("lineage", "artifact_id, role"),
        ("stages", "night, stage"),
        ("nights", "night"),
        ("batches", "batch"),
    ],
)
def test_keys_are_unique_and_not_null(ask: Ask, table: str, key: str) -> None:
    assert ask(f"select count(*) - count(distinct ({key})) from {table}") == [(0,)]
    assert ask(f"select count(*) from {table}") != [(0,)]
    assert ask(f"select count(*) from {table} where coalesce({', '.join(f'{column}::text' for column in key.split(', '))}) is null") == [
        (0,)
    ]


@pytest.mark.parametrize(
    "orphans",
    [
        "select 1 from judgments anti join comparisons using (comparison_id)",
        "select 1 from judgments anti join judgment_revisions using (judgment_id, revision)",
        "select 1 from all_preferences anti join comparisons using (comparison_id)",
        "select 1 from all_preferences anti join artifacts using (artifact_id)",
        "select 1 from lineage where input_id not in (select artifact_id from artifacts)",
        "select 1 from stages anti join artifacts using (artifact_id)",
        "select 1 from judgment_revisions anti join batches using (batch)",
    ],
)
def test_nothing_refers_to_what_is_not_there(ask: Ask, orphans: str) -> None:
    assert ask(orphans) == []


def test_lineage_leads_from_preferences_back_to_the_batch(ask: Ask) -> None:
    back = "select b.batch from lineage l join batches b on b.artifact_id = l.input_id where l.kind = 'preferences'"
    assert len(ask(back)) == 2


def test_every_table_and_every_record_column_is_documented(ask: Ask) -> None:
    assert ask("select table_name from duckdb_tables() where comment is null") == []
    assert ask("select view_name from duckdb_views() where not internal and comment is null") == []
    bare = "select table_name, column_name from duckdb_columns() where comment is null and table_name in "
    assert ask(f"{bare} ('comparisons', 'judgments', 'judgment_revisions', 'quarantine', 'all_preferences', 'all_prompts')") == []


def test_an_empty_home_gives_an_empty_database(tmp_path: Path) -> None:
    with duckdb.connect(rebuild_audit_database(Home(tmp_path)), read_only=True) as connection:
        assert connection.execute("select count(*) from judgments").fetchall() == [(0,)]
        assert connection.execute("select count(*) from quarantine").fetchall() == [(0,)]


def test_what_a_killed_rebuild_left_does_no_harm(tmp_path: Path) -> None:
    """A real database with a write-ahead log, as a kill leaves them, in the place of the unfinished file."""
    home = small_home(tmp_path)
    first = rebuild_audit_database(home)
    aside = first.with_name(f".{first.name}.{GONE}.aside")
    with duckdb.connect(aside) as connection:
        connection.execute(
            "pragma disable_checkpoint_on_shutdown; create table left_over as select 1; checkpoint; insert into left_over values (2)"
        )
        kept = aside.with_name(f"{aside.name}.wal").read_bytes()
    aside.with_name(f"{aside.name}.wal").write_bytes(kept)
    with duckdb.connect(rebuild_audit_database(home), read_only=True) as connection:
        assert connection.execute("select count(*) from duckdb_tables() where table_name = 'left_over'").fetchall() == [(0,)]
    assert sorted(path.name for path in home.root.glob("*audit*")) + sorted(path.name for path in home.root.glob(".*audit*")) == [
        "audit.duckdb"
    ]

"""`overnight audit`: what it prints, what it refuses, and when it builds the database anew."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data_contracts.audit.opening import refresh, why_outdated
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from flows.cli import main
from flows.night import NightRecord
from tests.data_contracts.audit.homes import deliver_rows, first_delivery, night
from tests.tasks.deliveries import row


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home after one night, which tests only read."""
    home = Home(tmp_path_factory.mktemp("audit") / "home")
    deliver_rows(home, "day", [*first_delivery(), row("left")], days_ago=0)
    night(home, "2026-01-01T00-00-00.000000Z")
    refresh(home)
    return home


def test_the_summary_tells_what_stands_agreement_quarantine_nights_and_gates(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    assert main(["audit", "--home", str(home.root)]) == 0
    printed = capsys.readouterr().out
    for part in ("what stands", "krippendorff_alpha", "invalid_verdict", "promoted (gate: pass)", "annotators_agree", "poetry"):
        assert part in printed


def test_a_table_of_an_earlier_night_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    home = Home(tmp_path / "home")
    deliver_rows(home, "day", first_delivery(), days_ago=0)
    night(home, "2026-01-01T00-00-00.000000Z")
    command = ["audit", "--home", str(home.root)]
    assert main(command) == 0
    assert "\ngate, last night" in capsys.readouterr().out
    failed = NightRecord(night="2026-01-02T00-00-00.000000Z", recipe="r", outcome="failed in policy: no room", seconds=1, stages=[])
    (home.nights / f"{failed.night}.json").write_text(failed.model_dump_json())
    refresh(home)
    assert main(command) == 0
    assert "\ngate, of night 2026-01-01T00-00-00.000000Z: no later one came so far" in capsys.readouterr().out


def test_figures_older_than_what_was_forgotten_are_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home(tmp_path / "home")
    deliver_rows(home, "day", first_delivery(), days_ago=0)
    night(home, "2026-01-01T00-00-00.000000Z")
    command = ["--home", str(home.root)]
    assert main(["audit", *command]) == 0
    assert "came after the last night" not in capsys.readouterr().out
    assert main(["forget", "--annotator", "kim", *command]) == 0
    assert main(["audit", *command]) == 0
    assert "1 requests to forget came after the last night: figures of nights still count what was erased" in capsys.readouterr().out
    night(home, f"{datetime.now(UTC) + timedelta(minutes=1):%Y-%m-%dT%H-%M-%S.%fZ}")
    refresh(home)
    assert main(["audit", *command]) == 0
    assert "came after the last night" not in capsys.readouterr().out


def test_one_annotator_is_told_of_in_full(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "annotator", "o'hara", "--home", str(home.root)]) == 0
    printed = capsys.readouterr().out
    for part in (
        "annotator o'hara",
        "majority_agreement",
        "by slice",
        "with other annotators",
        "kim",
        "night by night",
        "recent judgments",
    ):
        assert part in printed


def test_rows_for_machines_are_whole(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    question = "select judgment_id, verdict, event_time, [1, 2] as list from judgments order by judgment_id"
    assert main(["audit", "--home", str(home.root), "sql", question, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert main(["audit", "--home", str(home.root), "sql", question, "--format", "json"]) == 0
    as_json = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["judgment_id"] for one in rows] == [one["judgment_id"] for one in as_json]
    assert len(rows) == FeedbackLake(home.lake).batches()[0].manifest.headline["judgments"]
    assert (rows[0]["list"], as_json[0]["list"]) == ("[1, 2]", [1, 2])
    assert rows[0]["event_time"].endswith("+00:00")
    assert main(["audit", "sql", f"from ({question})", "--home", str(home.root)]) == 0
    assert "the first 100 rows" in capsys.readouterr().out


def test_what_can_be_asked_is_listed_with_its_columns(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "views", "--home", str(home.root)]) == 0
    assert "lineage_of(artifact)" in capsys.readouterr().out
    assert main(["audit", "views", "runs", "--home", str(home.root)]) == 0
    assert "share_of_night" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sql", "from nowhere"], "Table with name nowhere does not exist"),
        (["sql", "from nowhere"], "these can be asked: aggregated, "),
        (["sql", "selec 1"], "syntax error"),
        (["sql", "select nothing from nights"], "`overnight audit views`"),
        (["sql", "delete from nights"], "not written"),
        (["sql", "copy nights to 'nights.csv'"], "not written"),
        (["sql", "select 1; select 2"], "one question at a time"),
        (["sql", ""], "one question at a time"),
        (["sql", "from read_parquet('nowhere.parquet')"], "a file that the audit database reads is gone"),
        (["annotator", "nobody"], "these judged: a-model, kim, lee"),
        (["views", "nowhere"], "there is no 'nowhere'"),
    ],
)
def test_a_wrong_question_is_one_message(home: Home, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", *arguments, "--home", str(home.root)]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""


def test_it_is_built_anew_where_it_cannot_say_what_the_home_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home(tmp_path / "home")
    deliver_rows(home, "day", [row("a", annotator_id="kim")], days_ago=0)
    count = ["audit", "sql", "select count(*) as n from judgments", "--format", "csv", "--home"]

    def told(home: Home, reason: str, n: int) -> None:
        assert main([*count, str(home.root)]) == 0
        printed = capsys.readouterr()
        assert printed.out.split() == ["n", str(n)]
        assert reason in printed.err
        assert bool(reason) == bool(printed.err)

    told(home, "there is none yet", 1)
    told(home, "", 1)
    deliver_rows(home, "more", [row("b", annotator_id="lee")], days_ago=0)
    told(home, "something has landed since", 2)
    moved = Home(home.root.rename(tmp_path / "moved"))
    told(moved, "the home was moved here", 2)
    assert why_outdated(moved) is None
    moved.audit_database.write_bytes(b"no database")
    told(moved, "another version", 2)

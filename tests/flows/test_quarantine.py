"""`overnight quarantine`: what is still refused, with counts and examples, and the rows as they were read."""

import json
from pathlib import Path

import polars as pl
import pytest

from data_contracts.errors import InputError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.quarantined_rows import quarantined_rows
from flows.cli import main
from tests.tasks.deliveries import deliver_files, row, write_rows

NOW_TIED = row("tie", annotator_id="lee")
BROKEN = [row("left"), row(annotator_id="kim"), row("right")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    deliver_files(home, write_rows(tmp_path / "in/a.jsonl", BROKEN).parent)
    return home


def open_rows(home: Home) -> list[tuple[str, int, str]]:
    rows = pl.DataFrame(quarantined_rows(FeedbackLake(home.lake))).filter("is_open")
    return [(r["source_file"], r["source_row"], r["reason"]) for r in rows.to_dicts()]


def test_a_mended_file_settles_its_rows_and_a_new_fault_is_open(home: Home, tmp_path: Path) -> None:
    assert open_rows(home) == [("a.jsonl", 1, "invalid_verdict"), ("a.jsonl", 3, "invalid_verdict")]
    write_rows(tmp_path / "in/a.jsonl", [NOW_TIED, BROKEN[1], row("right")])
    batch = deliver_files(home, tmp_path / "in")
    assert batch.manifest.headline["rows_accepted"] == 1
    assert open_rows(home) == [("a.jsonl", 3, "invalid_verdict")]
    assert quarantined_rows(FeedbackLake(home.lake)).num_rows == 3, "what was refused once stays on record"


def test_reasons_are_listed_with_counts_and_examples(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quarantine", "--home", str(home.root), "--examples", "1"]) == 0
    shown = capsys.readouterr().out
    assert "invalid_verdict" in shown
    assert "2 rows are refused; 0 refused before" in shown
    assert main(["quarantine", "--home", str(home.root), "--reason", "another"]) == 0
    assert "0 rows are refused" in capsys.readouterr().out


def test_the_rows_are_exported_as_they_were_read_and_never_overwritten(home: Home, tmp_path: Path) -> None:
    command = ["quarantine", "--home", str(home.root), "--export", str(tmp_path / "out")]
    assert main(command) == 0
    path = tmp_path / "out/export/a.jsonl.refused"
    assert [json.loads(line) for line in path.read_text().splitlines()] == [BROKEN[0], BROKEN[2]]
    assert main(command) == 2
    assert InputError.__name__ not in path.read_text()


def test_an_empty_home_has_refused_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quarantine", "--home", str(tmp_path)]) == 0
    assert "nothing was ever refused" in capsys.readouterr().out

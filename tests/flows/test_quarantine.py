"""`overnight quarantine`: what is still refused, with counts and examples, and the rows as they were read."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from data_contracts.errors import InputError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.quarantined_rows import quarantined_rows
from flows.cli import main
from tasks.sources.formats import native
from tests.tasks.deliveries import deliver_files, judgments, row, write_rows

NOW_TIED = row("tie", annotator_id="lee")
BROKEN = [row("left"), row(annotator_id="kim"), row("right")]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    deliver_files(home, write_rows(tmp_path / "in/a.jsonl", BROKEN).parent)
    return home


def open_rows(home: Home) -> list[tuple[str, int, str]]:
    rows = pl.DataFrame(quarantined_rows(home)).filter("is_open")
    return [(r["source_file"], r["source_row"], r["reason"]) for r in rows.to_dicts()]


def test_a_mended_file_settles_its_rows_and_a_new_fault_is_open(home: Home, tmp_path: Path) -> None:
    assert open_rows(home) == [("a.jsonl", 1, "invalid_verdict"), ("a.jsonl", 3, "invalid_verdict")]
    write_rows(tmp_path / "in/a.jsonl", [NOW_TIED, BROKEN[1], row("right")])
    batch = deliver_files(home, tmp_path / "in")
    assert batch.manifest.headline["rows_accepted"] == 1
    assert open_rows(home) == [("a.jsonl", 3, "invalid_verdict")]
    rows = pl.DataFrame(quarantined_rows(home)).sort("refused_at", "source_row")
    assert rows["is_open"].to_list() == [False, False, True], "what was refused once stays on record"
    assert rows["came_again"].to_list() == [False, True, False], "the first was mended, the other came again as it was"


def test_reasons_are_listed_with_counts_and_examples(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quarantine", "--home", str(home.root), "--examples", "1"]) == 0
    shown = capsys.readouterr().out
    assert "invalid_verdict" in shown
    assert "2 rows are refused; 0 refused before" in shown
    write_rows(home.root.parent / "in/a.jsonl", [*BROKEN, row("tie", annotator_id="ann")])
    deliver_files(home, home.root.parent / "in")
    assert main(["quarantine", "--home", str(home.root)]) == 0
    assert "2 rows are refused; 0 refused before" in capsys.readouterr().out, "delivered again is not settled"
    assert main(["quarantine", "--home", str(home.root), "--reason", "another"]) == 0
    assert "0 rows are refused" in capsys.readouterr().out


def test_the_rows_are_exported_with_their_reasons_and_never_overwritten(home: Home, tmp_path: Path) -> None:
    command = ["quarantine", "--home", str(home.root), "--export", str(tmp_path / "out")]
    assert main(command) == 0
    path = tmp_path / "out/export/a.jsonl.refused.jsonl"
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(one["row"], one["source_row"], one["reason"]) for one in told] == [
        (BROKEN[0], 1, "invalid_verdict"),
        (BROKEN[2], 3, "invalid_verdict"),
    ]
    assert main(command) == 2
    assert InputError.__name__ not in path.read_text()


RECIPE = """
name = "mine"
[base_model]
source = "model"
[ingest]
check_contracts = false
[[ingest.sources]]
name = "export"
format = "native"
path = "in"
"""


def mend(path: Path, change: dict[int, str]) -> None:
    """Put other verdicts into some rows of an exported file, by row number."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line["row"]["verdict"] = change.get(line["source_row"], line["row"]["verdict"])
    write_rows(path, lines)


def test_mended_rows_are_taken_back_and_stay_settled_when_their_file_is_read_again(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE)
    assert main(["quarantine", "--home", str(home.root), "--export", str(tmp_path / "out")]) == 0
    mend(tmp_path / "out/export/a.jsonl.refused.jsonl", {1: "b"})
    back = ["quarantine", "--home", str(home.root), "--mended", str(tmp_path / "out"), "--recipe", str(tmp_path / "mine.toml")]
    assert main(back) == 0
    assert "taken back: rows 2 read · 1 accepted · 0 known · 1 quarantined" in capsys.readouterr().out
    assert sorted(one["verdict"] for one in judgments(home)) == ["a", "b"]
    assert open_rows(home) == [("a.jsonl.refused.jsonl", 2, "invalid_verdict")], (
        "what is still wrong is refused under the file it came back in"
    )
    write_rows(tmp_path / "in/b.jsonl", [row("tie", annotator_id="ann")])
    deliver_files(home, tmp_path / "in")
    assert open_rows(home) == [("a.jsonl.refused.jsonl", 2, "invalid_verdict")], "the file as it was brings nothing new"
    assert main(back) == 0
    assert "taken back before" in capsys.readouterr().out
    again = ["quarantine", "--home", str(home.root), "--export", str(tmp_path / "again")]
    assert main(again) == 0
    mend(tmp_path / "again/export/a.jsonl.refused.jsonl", {2: "tie"})
    assert main([*back[:4], str(tmp_path / "again"), *back[5:]]) == 0
    assert open_rows(home) == []
    assert sorted(one["verdict"] for one in judgments(home)) == ["a", "b", "tie", "tie"]
    with duckdb.connect(home.audit_database, read_only=True) as connection:
        assert connection.execute("select count(*) from judgments").fetchone() == (4,)


def test_rows_come_back_as_they_are_when_the_code_was_mended(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an upgrade: the verdicts that were unknown when the rows were refused are known now."""
    (tmp_path / "mine.toml").write_text(RECIPE)
    assert main(["quarantine", "--home", str(home.root), "--export", str(tmp_path / "out")]) == 0
    shutil.rmtree(tmp_path / "in")
    read = native.judged

    def mended(row: Any, default_slice: str | None) -> Any:
        sides = {"left": "a", "right": "b"}
        return read((*row[:2], row[2] | {"verdict": sides.get(row[2]["verdict"], row[2]["verdict"])}), default_slice)

    monkeypatch.setattr(native, "judged", mended)
    assert main(["quarantine", "--home", str(home.root), "--mended", str(tmp_path / "out"), "--recipe", str(tmp_path / "mine.toml")]) == 0
    assert open_rows(home) == []
    assert len(judgments(home)) == 3


@pytest.mark.parametrize(
    ("recipe", "line", "message"),
    [
        (None, None, "needs a recipe|by a recipe"),
        (RECIPE.replace('"export"', '"other"'), None, "no source 'export'; it has other"),
        (RECIPE, "{}", r"a line is no refused row \[.*a\.jsonl\.refused\.jsonl:1\]"),
        (RECIPE, "", "no refused rows were found there"),
    ],
)
def test_what_cannot_be_taken_back_is_one_message(
    recipe: str | None, line: str | None, message: str, home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quarantine", "--home", str(home.root), "--export", str(tmp_path / "out")]) == 0
    if line is not None:
        (tmp_path / "out/export/a.jsonl.refused.jsonl").write_text(line)
    command = ["quarantine", "--home", str(home.root), "--mended", str(tmp_path / "out")]
    if recipe is not None:
        (tmp_path / "mine.toml").write_text(recipe)
        command += ["--recipe", str(tmp_path / "mine.toml")]
    assert main(command) == 2
    assert re.search(message, capsys.readouterr().err)
    assert len(FeedbackLake(home.lake).batches()) == 1


def test_an_empty_home_has_refused_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quarantine", "--home", str(tmp_path)]) == 0
    assert "nothing was ever refused" in capsys.readouterr().out

"""What trainings logged, as the audit database tells it: by hand for the small home, and against the reader that trackers are fed by."""

import json
from pathlib import Path

import duckdb
import pytest

from data_contracts.audit.build import rebuild_audit_database
from data_contracts.home import Home
from data_contracts.manifest import Identity
from flows.metrics import rows
from tests.data_contracts.audit.conftest import Ask
from tests.data_contracts.audit.homes import METRICS


def test_every_figure_of_every_row_is_there_by_hand(ask: Ask) -> None:
    told = "select line, step, figure, member, value from training_metrics where stage = ? order by line, figure, member"
    assert ask(told, "policy") == [
        (1, 0, "validation_score", -1, 0.1),
        (2, 1, "kl_k1", -1, None),
        (2, 1, "score", -1, 0.25),
        (3, 2, "kl_k1", -1, 0.125),
        (3, 2, "score", -1, 1.0),
    ]
    assert ask(told, "judge")[5:] == [
        (2, 2, "loss", -1, 0.6),
        (3, 2, "epoch", -1, 1.0),
        (3, 2, "validation_log_loss", -1, 0.65),
        (4, 3, "accuracy", 0, 1.0),
        (4, 3, "accuracy", 1, None),
        (4, 3, "loss", -1, None),
    ]


def test_the_last_nights_are_those_of_the_last_night_that_has_them(ask: Ask) -> None:
    assert ask("select distinct night, stage from training_metrics order by stage") == [
        ("2026-01-02T00-00-00.000000Z", stage) for stage in ("judge", "policy", "reward_model")
    ]
    over_nights = "select night, count(*) from all_training_metrics join stages using (artifact_id) group by night order by night"
    figures = 2 * (3 * 3 + 2) + 5
    assert ask(over_nights) == [(f"2026-01-0{day}T00-00-00.000000Z", figures) for day in (1, 2)]
    assert sum(len(row) for row in METRICS["policy"]) - len(METRICS["policy"]) == 5


@pytest.mark.parametrize("materialise", [False, True])
def test_many_files_are_read_as_the_reader_for_trackers_reads_each(tmp_path: Path, materialise: bool) -> None:
    """Two implementations of one reading: SQL over all files, and Python over one. Members that are models of their own count alike."""
    home = Home(tmp_path / "home")

    def write(number: int) -> dict[str, object]:
        def build(directory: Path) -> dict[str, int]:
            logged = [row for step in range(50 + number) for row in _rows(step, number)]
            (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in logged))
            return {}

        artifact = home.artifacts.make(Identity(kind="reward_model", code_version=str(number)), build).artifact
        return {artifact.id: artifact.file("metrics.jsonl")}

    files = {name: path for number in range(9) for name, path in write(number).items()}
    expected = {
        (name, count, f"{figure}/-1" if "/" not in figure else figure, value)
        for name, path in files.items()
        for count, figures in rows(Path(str(path)))
        for figure, value in figures.items()
        if figure != "member"
    }
    with duckdb.connect(rebuild_audit_database(home, materialise=materialise), read_only=True) as connection:
        found = connection.execute(
            "select artifact_id, step, figure || '/' || member, value from all_training_metrics where value is not null"
        ).fetchall()
        assert set(found) == expected
        assert len(found) == len(expected)
        assert connection.execute("select count(*) from training_metrics").fetchall() == [(0,)], "no night made them"


def _rows(step: int, number: int) -> list[dict[str, object]]:
    row: dict[str, object] = {"step": step + 1, "loss": step + number / 16, "accuracy": [step / 64, None, number]}
    return [row, {"epoch": step + 0.5, "validation_log_loss": -step - number}] if step % 7 == 6 else [row]


def test_members_that_are_models_of_their_own_are_told_apart(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    logged = [{"member": member, "step": step, "loss": member + step / 8} for member in (0, 1) for step in (1, 2)]

    def build(directory: Path) -> dict[str, int]:
        (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in logged))
        return {}

    home.artifacts.make(Identity(kind="reward_model", code_version="1"), build)
    with duckdb.connect(rebuild_audit_database(home), read_only=True) as connection:
        found = connection.execute("select member, step, value from all_training_metrics order by all").fetchall()
    assert found == [(row["member"], row["step"], row["loss"]) for row in logged]

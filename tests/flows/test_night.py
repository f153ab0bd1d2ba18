"""A night's record: also of nights that fail."""

import json
from pathlib import Path

import duckdb
import pytest

from data_contracts.errors import InputError
from data_contracts.home import Home
from flows.night import Night
from flows.recipe import load_recipe


def failing(error: BaseException) -> object:
    def stage(home: str, config: object) -> None:
        raise error

    stage.name = "ingest"  # type: ignore[attr-defined]
    return stage


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (InputError("the file cannot be read", where="feedback.jsonl"), "failed in ingest: the file cannot be read"),
        (ValueError("ours"), "failed in ingest: ValueError: ours"),
        (KeyboardInterrupt(), "interrupted in ingest"),
    ],
)
def test_a_night_that_fails_is_recorded_and_can_be_audited(tmp_path: Path, error: BaseException, outcome: str) -> None:
    recipe = load_recipe("built-in")
    night = Night.begin(recipe, Home(tmp_path))
    with pytest.raises(type(error)):
        night.run(failing(error), recipe.ingest)  # type: ignore[arg-type]
    (record,) = [json.loads(path.read_text()) for path in night.home.nights.glob("*")]
    assert record["outcome"] == outcome
    with duckdb.connect(night.home.audit_database, read_only=True) as connection:
        assert connection.execute("select night, outcome from nights").fetchall() == [(record["night"], outcome)]

"""A night's record: also of nights that fail."""

import json
from pathlib import Path

import duckdb
import pytest

from data_contracts.errors import InputError
from data_contracts.home import Home
from flows.night import Night
from flows.recipe import load_recipe


def failing(error: type[BaseException], *arguments: str) -> object:
    def stage(home: str, config: object) -> None:
        raise error(*arguments)

    stage.name = "ingest"  # type: ignore[attr-defined]
    return stage


@pytest.mark.parametrize(
    ("error", "arguments", "outcome"),
    [
        (InputError, ("the file cannot be read",), "failed in ingest: the file cannot be read"),
        (ValueError, ("ours",), "failed in ingest: ValueError: ours"),
        (KeyboardInterrupt, (), "interrupted in ingest"),
    ],
)
def test_a_night_that_fails_is_recorded_and_can_be_audited(
    tmp_path: Path, error: type[BaseException], arguments: tuple[str, ...], outcome: str
) -> None:
    recipe = load_recipe("built-in")
    night = Night.begin(recipe, Home(tmp_path))
    with pytest.raises(error):
        night.run(failing(error, *arguments), recipe.ingest)  # type: ignore[arg-type]
    (record,) = [json.loads(path.read_text()) for path in night.home.nights.glob("*")]
    assert record["outcome"] == outcome
    with duckdb.connect(night.home.audit_database, read_only=True) as connection:
        assert connection.execute("select night, outcome from nights").fetchall() == [(record["night"], outcome)]

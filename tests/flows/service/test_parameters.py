"""What a run may change of its recipe: typed, optional, never a file; and which recipes it may name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.hydration import HydrationContext, hydrate
from prefect.utilities.schema_tools.validation import validate
from pydantic import BaseModel, ValidationError

from data_contracts.errors import RecipeError
from flows.deployments.night import nightly
from flows.deployments.parameters import LEFT_OUT, RecipeChanges
from flows.deployments.place import Place
from flows.recipe import RECIPES, Recipe, load_recipe
from models.policy_configs import PPOConfig

SCHEMA: dict[str, Any] = parameter_schema(nightly).model_dump()
"""What the run form is drawn from, and what the server checks a run's parameters by."""


def definition(ref: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = SCHEMA["definitions"][ref["$ref"].rpartition("/")[2]]
    return found


def settings(of: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every setting of the form with its path."""
    for name, shown in of["properties"].items():
        yield f"{path}{name}", shown
        for part in [shown, *shown.get("anyOf", [])]:
            if "$ref" in part:
                yield from settings(definition(part), f"{path}{name}.")


FORM = dict(settings(definition(SCHEMA["properties"]["changes"])))


def test_nothing_has_to_be_given_and_no_default_is_frozen() -> None:
    assert "required" not in SCHEMA or not SCHEMA["required"]
    assert (SCHEMA["properties"]["recipe"]["default"], SCHEMA["properties"]["changes"]["default"]) == ("", {})
    assert [path for path, shown in FORM.items() if "default" in shown] == []


def test_settings_have_the_types_ranges_order_and_words_of_the_recipes_own_models() -> None:
    """Beside the models' own fields, the sections and those of one trainer."""
    sections = definition(SCHEMA["properties"]["changes"])["properties"]
    ppo = definition(sections["policy"]["anyOf"][0])["properties"]
    for model, shown in ((Recipe, sections), (PPOConfig, ppo)):
        told = {name: field for name, field in model.model_fields.items() if name in shown}
        assert list(shown) == list(told), "in the recipe's order"
        assert [shown[name]["position"] for name in told] == list(range(len(told)))
        assert all(shown[name]["description"].startswith(str(field.description)) for name, field in told.items())
    assert (ppo["learning_rate"]["type"], ppo["learning_rate"]["exclusiveMinimum"]) == ("number", 0)
    assert ppo["kl_control"]["enum"] == ["adaptive", "fixed"]
    assert "by default 3e-06" in ppo["learning_rate"]["description"]


def test_no_setting_names_a_file_a_key_or_a_source() -> None:
    names = {"path", "key_variable", "evaluation_sets", "source", "revision", "line", "demonstrations", "corpus", "prompt_files", "rewards"}
    assert {path for path in FORM if names & set(path.split("."))} == set()
    assert not any(path.endswith(".seed") or path in LEFT_OUT for path in FORM)


@pytest.mark.parametrize("changes", [{"policy": {"updates": 0}}, {"policy": {"update": 3}}, {"ingest": {"sources": []}}, {"polcy": {}}])
def test_the_server_and_the_run_refuse_the_same(changes: dict[str, Any]) -> None:
    assert validate({"changes": changes}, SCHEMA)
    with pytest.raises(ValidationError):
        RecipeChanges.model_validate(changes)


def test_changes_stand_over_the_recipe_and_its_own_validators_run_again() -> None:
    changes = RecipeChanges.model_validate({"policy": {"updates": 3, "sampling": {"max_new_tokens": 16}}, "gate": {"max_kl": 5}})
    assert changes.model_dump() == {"policy": {"updates": 3, "sampling": {"max_new_tokens": 16}}, "gate": {"max_kl": 5.0}}
    with pytest.raises(RecipeError, match="max_new_tokens"):
        load_recipe("built-in", changes=changes.model_dump())
    recipe = load_recipe("built-in", changes={**changes.model_dump(), "evaluation": {"sampling": {"max_new_tokens": 16}}})
    own = load_recipe("built-in")
    assert (recipe.policy.updates, recipe.gate.max_kl) == (3, 5.0)
    assert recipe.policy.learning_rate == own.policy.learning_rate
    assert isinstance(RecipeChanges(), BaseModel)
    assert load_recipe("built-in", changes=RecipeChanges().model_dump()) == own


UNTOUCHED: dict[str, Any] = {
    "simulation": {"annotators": {"__prefect_kind": "json"}},
    "policy": {},
    "run": {"time_limits": {"__prefect_kind": "json"}},
    "ingest": {"privacy": {"actions": {"__prefect_kind": "json"}}},
}
"""What a browser sends of sections that nobody touched (Prefect 3.8.8), as it was recorded."""


def test_what_the_form_sends_of_its_own_accord_changes_nothing() -> None:
    sent = hydrate(
        {"changes": {**UNTOUCHED, "gate": {"max_kl": 19}}}, HydrationContext(render_jinja=False, render_workspace_variables=False)
    )
    assert not validate(sent, SCHEMA)
    assert RecipeChanges.model_validate(sent["changes"]).model_dump() == {"gate": {"max_kl": 19.0}}


def test_nothing_is_asked_by_a_box_to_tick() -> None:
    """A box that nobody ticked is sent as false, and would switch off what the recipe has on."""
    parts = [part for shown in FORM.values() for part in [shown, *shown.get("anyOf", [])]]
    assert [part["title"] for part in parts if part.get("type") == "boolean"] == []
    changes = RecipeChanges.model_validate({"ingest": {"check_contracts": "no"}})
    assert not load_recipe("built-in", changes=changes.model_dump()).ingest.check_contracts


def test_a_run_names_its_recipe_by_a_bare_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.toml").write_text("")
    (tmp_path / "outside.toml").write_text("")
    monkeypatch.setenv("OVERNIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OVERNIGHT_RECIPES", str(tmp_path / "recipes"))
    monkeypatch.setenv("OVERNIGHT_RECIPE", "mine")
    place = Place.from_environment()
    assert place.recipe_file("") == place.recipe_file("mine") == str(tmp_path / "recipes" / "mine.toml")
    assert place.recipe_file("built-in") == str(RECIPES / "built-in.toml")
    for name in ("../outside", str(tmp_path / "outside.toml"), "outside", "recipes/mine", "..", "mine.toml"):
        with pytest.raises(RecipeError, match="one of: built-in, "):
            place.recipe_file(name)


def test_a_worker_without_a_home_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVERNIGHT_HOME", raising=False)
    with pytest.raises(RecipeError, match="knows no home"):
        Place.from_environment()

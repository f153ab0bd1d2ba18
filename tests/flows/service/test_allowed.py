"""What a crafted call of the flow `learning` cannot do: read other files, import other code, open what is no artifact of the home.

Expected: the contract in words. That a night itself cannot name any of it is tested with the form (`test_parameters.py`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter

from data_contracts.errors import InputError, RecipeError
from flows.deployments.allowed import refuse_what_is_not_allowed
from flows.deployments.learning import STAGES, learning
from flows.deployments.place import Place

FUNCTION = {"kind": "function", "function": "team_rewards:polite"}
MEASURE = {"name": "polite", "function": "team_rewards:polite"}
CHECKED = {"source", "demonstrations", "corpus", "prompt_files", "function", "folder"}
HARMLESS = {"revision", "name", "patterns", "pattern", "rubric", "model", "annotators", "experts", "flipped_slice"}
"""Free texts of learning stages that name nothing of the machine: a model's revision counts with its source only, and a judge's model is
an artifact among the inputs."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name in ("home", "recipes", "data", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("OVERNIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OVERNIGHT_RECIPES", str(tmp_path / "recipes"))
    monkeypatch.setenv("OVERNIGHT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OVERNIGHT_FUNCTIONS", "other, team_rewards")
    return Place.from_environment()


def settings(stage: Any, config: dict[str, Any]) -> BaseModel:
    found: BaseModel = TypeAdapter(STAGES[stage].config).validate_python(config)
    return found


CRAFTED = [
    ("base model", {"source": "/etc"}, "takes no base model by its place"),
    ("base model", {"source": "somebody/model"}, "takes no base model by its place"),
    ("supervised fine-tuning", {"demonstrations": "/etc/passwd"}, r"/etc/passwd is not in a folder .*sft\.demonstrations"),
    ("policy", {"prompt_files": ["/etc/passwd"]}, r"/etc/passwd is not in a folder .*policy\.prompt_files"),
    ("policy", {"ptx": {"corpus": "DATA/../elsewhere/corpus.txt"}}, r"not in a folder .*policy\.ptx\.corpus"),
    ("policy", {"ptx": {"corpus": "DATA/link/corpus.txt"}}, r"not in a folder .*policy\.ptx\.corpus"),
    ("policy", {"rewards": [{"kind": "function", "function": "os:system"}]}, "the module os is not among those"),
    ("policy", {"rewards": [{**FUNCTION, "folder": "DATA"}]}, r"not in a folder .*policy\.rewards.*OVERNIGHT_RECIPES"),
    ("function", {"name": "x", "function": "os:system"}, r"the module os is not among those .*measures\.functions"),
    ("function", {**MEASURE, "folder": "DATA"}, r"not in a folder .*measures\.functions.*OVERNIGHT_RECIPES"),
]


@pytest.mark.parametrize(("stage", "config", "message"), CRAFTED)
def test_what_the_environment_does_not_allow_is_refused(
    place: Place, stage: str, config: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the flow itself, before its stage begins."""
    assert place.data is not None
    (place.data / "link").symlink_to(place.data.parent / "elsewhere")
    monkeypatch.setattr("flows.deployments.learning._hand_back", lambda outcome: None)
    monkeypatch.setattr("flows.deployments.learning.RunPage", lambda home, name: lambda event: pytest.fail(f"began: {event}"))
    with pytest.raises(RecipeError, match=message):
        learning.fn(stage, _placed(config, place.data), {})


def _placed(config: Any, data: Path) -> Any:
    """The configuration with the folder of data in the place of its name."""
    if isinstance(config, dict):
        return {name: _placed(value, data) for name, value in config.items()}
    if isinstance(config, list):
        return [_placed(value, data) for value in config]
    return config.replace("DATA", str(data)) if isinstance(config, str) else config


@pytest.mark.parametrize(
    ("stage", "config"),
    [
        ("base model", {}),
        ("supervised fine-tuning", {"demonstrations": "DATA/below/demonstrations.jsonl"}),
        ("policy", {"prompt_files": ["DATA/prompts.jsonl"], "ptx": {"corpus": "DATA/../recipes/corpus.txt"}}),
        ("function", MEASURE),
        ("policy", {"rewards": [FUNCTION, {**FUNCTION, "name": "beside_the_recipes", "folder": "DATA/../recipes"}]}),
    ],
)
def test_what_the_environment_allows_is_taken(place: Place, stage: str, config: dict[str, Any]) -> None:
    assert place.data is not None
    refuse_what_is_not_allowed(place, settings(stage, _placed(config, place.data)))


@pytest.mark.parametrize("given", ["../../elsewhere", "*", "?", "", "/etc", "[a-f]"])
def test_what_is_no_id_opens_nothing(place: Place, given: str) -> None:
    """Also where such a path would lead to a manifest."""
    outside = place.home.root.parent / "elsewhere" / "1"
    outside.mkdir()
    (outside / "manifest.json").write_text("{}")
    (place.home.artifacts.root / "policy").mkdir(parents=True)
    with pytest.raises(InputError, match="none does"):
        place.home.artifacts.open(given)


def test_every_free_text_of_a_learning_stage_is_checked_or_names_nothing() -> None:
    """So that a setting that is added one day is looked at."""
    found = {name for stage in STAGES.values() for name in free_texts(stage.config)}
    assert found == CHECKED | HARMLESS


def free_texts(annotation: Any) -> Iterator[str]:
    """Names of the settings that take any text, in the models of an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if str in parts(field.annotation):
                yield name
            yield from free_texts(field.annotation)
    for part in get_args(annotation):
        yield from free_texts(part)


def parts(annotation: Any) -> set[Any]:
    """The types in an annotation that is no model."""
    return {annotation} | {inner for part in get_args(annotation) for inner in parts(part)}

"""What a run may change of its recipe: every setting, typed and optional, made from the recipe's own models.

The form on the server is drawn from this, and whatever is left out keeps the recipe's value. Settings that name files, sources
or keys are not among them: those are for who may edit recipes.
"""

from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Discriminator, Field, create_model, model_serializer
from pydantic.fields import FieldInfo

from flows.recipe import Recipe

LEFT_OUT = {
    "name",
    "description",
    "ingest.sources",
    "ingest.privacy.key_variable",
    "base_model.source",
    "base_model.revision",
    "reward_backbone.source",
    "reward_backbone.revision",
    "duplicates.evaluation_sets",
    "registry.line",
    "held_out_texts.path",
    "measures",
    "annotators",
    "sft.demonstrations",
    "policy.rewards",
    "policy.prompt_files",
    "policy.ptx.corpus",
    "reward_model.split",
    "judge.split",
}
"""Settings, by their path, that no run may change: they name the recipe, files, code or a key, or can have one value only."""


YesOrNo = Literal["yes", "no"]
"""How the form asks for what is true or false: a box that nobody ticked would be sent as false, a choice that nobody made is not sent."""


class Changes(BaseModel):
    """Base of the models of changes: what was not set is not there, nor a section in which nothing was, which the form sends empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_serializer
    def _only_what_was_set(self) -> dict[str, Any]:
        set_here = {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}
        return {name: value for name, value in set_here.items() if not isinstance(value, Changes) or value.model_dump()}


def changes_of(model: type[BaseModel], path: str = "") -> type[Changes]:
    """A model with the same fields, all of them optional; of a field that is a model itself, likewise.

    Args:
        model: a model of settings.
        path: where it stands in the recipe, with a dot at its end.
    """
    kept = {name: field for name, field in model.model_fields.items() if not _left_out(f"{path}{name}", name, path)}
    fields: dict[str, Any] = {name: _optional(field, f"{path}{name}.", position) for position, (name, field) in enumerate(kept.items())}
    return create_model(f"{model.__name__}Changes{path.replace('.', '_')}", __base__=Changes, __doc__=model.__doc__, **fields)


def _left_out(setting: str, name: str, path: str) -> bool:
    """Also the seeds of stages, which follow from the recipe's own."""
    return setting in LEFT_OUT or (name == "seed" and path != "")


def _optional(field: FieldInfo, path: str, position: int) -> tuple[Any, FieldInfo]:
    """Type and field of an optional setting; its default is told in words, so that a deployment does not freeze it."""
    annotation, rules = _changed(field.annotation, path), [rule for rule in field.metadata if not isinstance(rule, Discriminator)]
    constrained = Annotated[annotation, *rules] if rules else annotation
    title, about = path.split(".")[-2].replace("_", " "), f"{field.description}{_default(field)}"
    shown: dict[str, Any] = {"title": title, "description": about, "json_schema_extra": {"position": position}}
    return constrained, Field(default_factory=lambda: None, **shown)


def _changed(annotation: Any, path: str) -> Any:
    """The type in which a change of a setting is given: models become optional throughout, None is left out."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return changes_of(annotation, path)
    if annotation is bool:
        return YesOrNo
    if get_origin(annotation) is Annotated:
        return _changed(get_args(annotation)[0], path)
    if get_origin(annotation) in (Union, UnionType):
        return reduce(or_, (_changed(part, path) for part in get_args(annotation) if part is not NoneType))
    return annotation


def _default(field: FieldInfo) -> str:
    """What the setting is in a recipe that does not name it, in words."""
    if field.is_required() or isinstance(value := field.get_default(call_default_factory=True), BaseModel):
        return ""
    value = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
    return f" (by default {value})" if value not in (None, "", ()) and value != {} else ""


if TYPE_CHECKING:
    RecipeChanges = Changes
else:
    RecipeChanges = changes_of(Recipe)
    """The changes that a run may make to its recipe."""

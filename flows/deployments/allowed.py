"""What a run of the flow `learning` may name of its machine: built-in models, files in the installation's folders, and listed functions.

A night's form has no such settings (see `parameters`), and recipes are written by who may write into the recipes' folder. But a
night hands its resolved configuration to `learning` over the server, and whoever may start runs can hand over another one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from data_contracts.errors import RecipeError
from flows.deployments.place import Place
from flows.variables import DATA, FUNCTIONS, RECIPE_FOLDER
from models.config_parts import FunctionConfig, functions_of
from models.policy_configs import PPOConfig, SFTConfig
from tasks.learning.base_model import BUILT_IN, BaseModelConfig


class NamedPath(NamedTuple):
    """A file or folder that a configuration names."""

    setting: str
    path: Path
    is_code: bool = False
    """Whether it is a folder that code is imported from."""


def refuse_what_is_not_allowed(place: Place, config: BaseModel) -> None:
    """See that a learning stage's configuration names nothing of this machine beyond what its environment allows.

    Raises:
        RecipeError: it names a model by its place, a file outside the folders, or a function that is not listed.
    """
    if isinstance(config, BaseModelConfig) and config.source != BUILT_IN:
        remedy = "a night copies or fetches its base model itself: run the recipe's night"
        raise RecipeError("a learning run takes no base model by its place", where="base_model.source", remedy=remedy)
    for named in _paths(config):
        _refuse_outside(place, named)
    for module in (one.module for one in functions_of(config)):
        if module not in place.functions:
            remedy = f"if it may run here, start the worker with {FUNCTIONS}={','.join([*place.functions, module])} in its environment"
            what = f"the module {module} is not among those that runs may import here"
            raise RecipeError(what, where=_functions_setting(config), remedy=remedy)


def _paths(config: BaseModel) -> Iterator[NamedPath]:
    if isinstance(config, SFTConfig) and config.demonstrations:
        yield NamedPath("sft.demonstrations", Path(config.demonstrations))
    if isinstance(config, PPOConfig):
        yield from (NamedPath("policy.prompt_files", Path(path)) for path in config.prompt_files)
        if config.ptx and config.ptx.corpus:
            yield NamedPath("policy.ptx.corpus", Path(config.ptx.corpus))
    yield from (NamedPath(_functions_setting(config), one.place, is_code=True) for one in functions_of(config) if one.place)


def _functions_setting(config: BaseModel) -> str:
    """The setting of the recipe that names the functions."""
    return "measures.functions" if isinstance(config, FunctionConfig) else "policy.rewards"


def _refuse_outside(place: Place, named: NamedPath) -> None:
    """Data may come from the folder of data, too; code only from where the recipes are."""
    folders = {RECIPE_FOLDER: place.recipes} | ({} if named.is_code else {DATA: place.data})
    path = named.path.resolve()
    if not any(folder is not None and path.is_relative_to(folder) for folder in folders.values()):
        remedy = f"put it there, or start the worker with another {' or '.join(folders)}"
        raise RecipeError(f"{named.path} is not in a folder that runs may read here", where=named.setting, remedy=remedy)

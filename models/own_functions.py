"""A function that somebody brought along: found by its import path, and what it gives made into scores."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from reprlib import Repr
from typing import Any

import torch
from torch import Tensor

from data_contracts.errors import RecipeError, StageError
from data_contracts.texts import Message
from models.config_parts import FunctionConfig

OwnFunction = Callable[[list[list[Message]], list[str]], Any]
"""Takes B prompts, as messages, and B responses; gives one number for each, in a list, an array or a tensor."""
QUOTED = Repr()
QUOTED.maxlist = QUOTED.maxstring = QUOTED.maxother = 60


def load_function(config: FunctionConfig, title: str, setting: str) -> OwnFunction:
    """The function of a configuration, from its folder or from where Python finds installed modules.

    Args:
        config: where it stands.
        title: what it is called in an error.
        setting: the setting of the recipe that names it.

    Raises:
        RecipeError: there is no such module or function, or importing it fails.
    """
    name = config.function.partition(":")[2]
    if config.folder is not None and config.folder not in sys.path:
        sys.path.insert(0, config.folder)
    try:
        found = getattr(import_module(config.module), name)
    except Exception as error:  # whatever the module does when it is imported
        raise RecipeError(
            f"{title} cannot be imported: {type(error).__name__}: {error}",
            where=config.folder or "Python's own path",
            remedy=f"correct its `function` or `folder` in {setting}, or the module",
        ) from error
    if not callable(found):
        raise RecipeError(f"{title} is no function but {QUOTED.repr(found)}", remedy=f"name a function in {setting}")
    function: OwnFunction = found
    return function


def as_scores(given: Any, name: str) -> Tensor:
    """What a function gave, as float32 numbers in whatever shape they came.

    Raises:
        StageError: it is nothing that numbers can be made of.
    """
    try:
        return torch.as_tensor(given, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise StageError(
            f"{name} gave no numbers but {QUOTED.repr(given)}", remedy="give one number for each response, in a list, an array or a tensor"
        ) from error


def score_by(function: OwnFunction, name: str, prompts: Sequence[Sequence[Message]], responses: Sequence[str]) -> Tensor:
    """The scores (B,) of a function that is what it should be; whoever calls this sees to its shape."""
    return as_scores(function([list(prompt) for prompt in prompts], list(responses)), name)

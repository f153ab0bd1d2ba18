"""Matrices of low rank beside a model's linear layers (LoRA; Hu et al., 2021), which learn in its place.

They are added into the model's weights as soon as training ends. So what is measured, saved, scored with and started from is an
ordinary model, and nobody needs peft but who trains.
"""

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from data_contracts.errors import InputError, RecipeError
from models.configs import LoRAConfig

Adapters = Any
"""A model of the peft library around one of transformers', whose linear layers it has replaced in place."""


def add_lora(model: Any, config: LoRAConfig, *, where: str, leave_out: Callable[[str, nn.Module], bool]) -> Adapters:
    """Put the matrices beside every linear layer but those left out; nothing else of the model learns from then on.

    The first matrices come from torch's global generator, the second ones are 0, so that the model says what it said before.

    Args:
        where: the key of the recipe that asks for it.
        leave_out: whether a layer, by its name and itself, stays as it is.

    Raises:
        RecipeError: peft is not installed.
        InputError: the model has no linear layers.
    """
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        raise RecipeError(
            "LoRA needs the package peft, which is not installed",
            where=where,
            remedy="pip install 'peft>=0.21' (the extra `lora`), or leave lora out of the recipe",
        ) from error
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, (nn.Linear, Conv1D))}
    layers = {name: layer for name, layer in linear.items() if not leave_out(name, layer)}
    if not layers:
        raise InputError("the model has no linear layers for LoRA", where=type(model).__name__, remedy="leave lora out of the recipe")
    transposed = any(isinstance(layer, Conv1D) for layer in layers.values())  # as GPT-2 keeps its weights
    settings = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=list(layers), fan_in_fan_out=transposed, lora_dropout=0.0)
    return LoraModel(model, settings, "default")

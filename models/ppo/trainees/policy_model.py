"""The policy with the reference that it is held near: two models, or one that learns by LoRA and is its own reference without it."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from models.language.language_model import LanguageModel, load_language_model
from models.lora import Adapters, add_lora
from models.policy_configs import PPOConfig
from models.randomness import derive_seed


class Policy(NamedTuple):
    """A policy that learns."""

    model: LanguageModel
    """An ordinary language model; LoRA's matrices, where it has them, stand in its layers."""
    reference: LanguageModel
    """The base model, which stays: the policy at the start, unless that is a champion."""
    adapters: Adapters | None

    def merged(self) -> LanguageModel:
        """The policy as plain weights, to be saved; what LoRA learned is added into them, and the reference is gone."""
        return self.model if self.adapters is None else self.adapters.merge_and_unload()


class WithoutAdapters:
    """A model with its adapters switched off while it is called: the weights that it started from, without a second copy of them."""

    def __init__(self, model: LanguageModel, adapters: Adapters) -> None:
        self.trunk, self._adapters = model, adapters
        self.config = model.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.trunk.device
        return device

    def get_output_embeddings(self) -> nn.Module:
        """The head, which has no adapters."""
        head: nn.Module = self.trunk.get_output_embeddings()
        return head

    def __call__(self, **inputs: Any) -> Any:
        """What the model says without its adapters."""
        self._adapters.disable_adapter_layers()
        try:
            return self.trunk(**inputs)
        finally:
            self._adapters.enable_adapter_layers()


def load_policy(config: PPOConfig, base_model: Path, device: torch.device, start: Path) -> Policy:
    """The policy that training starts with, and its reference, the base model; with LoRA both are the base model."""
    model = load_language_model(start, device)
    if config.lora is None:
        return Policy(model, load_language_model(base_model, device).eval().requires_grad_(False), None)
    torch.manual_seed(derive_seed(config.seed, "policy", "lora"))
    head = model.get_output_embeddings()

    def is_head(_: str, layer: nn.Module) -> bool:
        return layer is head  # it is often the embedding's own matrix

    adapters = add_lora(model, config.lora, where="policy.lora", leave_out=is_head)
    return Policy(model, WithoutAdapters(model, adapters), adapters)

"""What of a reward model's backbone learns: all of it, matrices of low rank beside its linear layers (LoRA), or nothing.

LoRA's matrices are added into the backbone's weights as soon as training ends.
"""

from typing import Any

from torch import nn

from data_contracts.errors import InputError
from models.configs import RewardModelConfig
from models.lora import add_lora
from models.precision import check_precision
from models.reward.reward_model import POOLER, RewardModel


class FineTuning:
    """The backbone of a reward model while it learns."""

    def __init__(self, model: RewardModel, config: RewardModelConfig) -> None:
        """Settle what learns; LoRA's first matrices come from torch's global generator, the second ones are 0.

        Raises:
            RecipeError: LoRA is asked for and peft is not installed.
            InputError: the backbone has no linear layers, or cannot compute activations again; or the GPU has no bfloat16.
        """
        self.model = model
        check_precision(config.precision, model.device, "reward_model.precision")
        model.learns_in = config.precision
        if config.freeze_backbone:
            model.backbone.requires_grad_(False)
        self._adapters = add_lora(model.backbone, config.lora, where="reward_model.lora", leave_out=_is_pooler) if config.lora else None
        if config.gradient_checkpointing:
            _checkpoint_gradients(model.backbone)

    def merge(self) -> None:
        """Add what LoRA learned into the backbone's weights, once."""
        if self._adapters is not None:
            self.model.backbone = self._adapters.merge_and_unload()
            self._adapters = None


def _is_pooler(name: str, _: nn.Module) -> bool:
    return name.startswith(POOLER)


def _checkpoint_gradients(backbone: Any) -> None:
    # Newer releases of transformers call it activation checkpointing and warn of the older name.
    enable = getattr(backbone, "activation_checkpointing_enable", None) or backbone.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError as error:
        raise InputError(str(error), where=type(backbone).__name__, remedy="set gradient_checkpointing = false") from error

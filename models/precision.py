"""What the forward passes of models that learn compute in. Weights, heads, losses, and the scores that rewards are made of stay float32."""

from contextlib import AbstractContextManager, nullcontext

import torch

from data_contracts.errors import InputError
from models.configs import Precision


def computing_in(precision: Precision, device: torch.device) -> AbstractContextManager[None]:
    """Let forward passes within compute in this; the backward passes of what they made need not be within."""
    if precision == "float32":
        return nullcontext()
    context: AbstractContextManager[None] = torch.autocast(device.type, torch.bfloat16)
    return context


def check_precision(precision: Precision, device: torch.device, setting: str) -> None:
    """Raise an `InputError` naming the setting where the device does not compute in this."""
    if precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        remedy = f"set {setting} = 'float32'"
        raise InputError("the GPU does not compute in bfloat16", where=torch.cuda.get_device_name(device), remedy=remedy)

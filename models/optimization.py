"""What every training loop does between a loss and the next: learning rates, clipped steps, and steps that are not finite."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from data_contracts.errors import StageError
from models.sharding import whole

MOST_IN_A_ROW = 3
"""Steps in a row without a finite gradient after which a job gives up."""


def adamw(model: nn.Module, *, weight_decay: float, eps: float = 1e-8, betas: tuple[float, float] = (0.9, 0.999)) -> AdamW:
    """AdamW whose weight decay spares vectors (norms and biases); set its learning rate before every step."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], lr=0.0, betas=betas, eps=eps, fused=True)


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """The learning rate of the steps to come: a function of the step alone, so that no scheduler has to be saved."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def warmup_cosine(step: int, total: int, warmup: float, floor: float = 0.05) -> float:
    """Share of the peak learning rate at a step: up in a straight line over the warmup, then down a half cosine to the floor."""
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def warmup_linear(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate at a step: up in a straight line over the warmup, then down in one to 0 after the last."""
    rise = max(1, round(warmup * total))
    return (step + 1) / rise if step < rise else (total - step) / max(1, total - rise)


@dataclass
class StepGuard:
    """Takes optimizer steps with clipped gradients, and skips and counts those whose gradient is not finite."""

    max_grad_norm: float
    skipped: int = 0
    """Steps skipped so far."""
    in_a_row: int = 0

    def step(self, parameters: Iterable[nn.Parameter], optimizer: Optimizer) -> float:
        """Clip, step and clear the gradients; the gradients' norm before clipping.

        Raises:
            StageError: this was the third step in a row without a finite gradient.
        """
        norm = float(whole(torch.nn.utils.clip_grad_norm_(list(parameters), self.max_grad_norm)))
        if math.isfinite(norm):
            self.in_a_row = 0
            optimizer.step()
        else:
            self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
        optimizer.zero_grad(set_to_none=True)
        if self.in_a_row >= MOST_IN_A_ROW:
            raise StageError(f"{MOST_IN_A_ROW} steps in a row had no finite gradient", remedy="lower the learning rate and run again")
        return norm

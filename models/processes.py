"""Processes that train together: what each does of a batch, and sums over all of them.

Every process has the whole model, or a share of it (see `models.sharding`), and sees every batch; it computes its share, and what is
summed is the same everywhere afterwards, so all take the same steps and come to the same decisions. One process alone does everything
and sums nothing.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from models.sharding import is_sharded

T = TypeVar("T")


def own_share(rows: Sequence[T], accelerator: Accelerator) -> Sequence[T]:
    """The rows that are this process's to do: every n-th, so that rows in order of length are shared out evenly."""
    return rows[accelerator.process_index :: accelerator.num_processes]


def total(tensor: Tensor, accelerator: Accelerator) -> Tensor:
    """The sum of a tensor over the processes, on the tensor's device."""
    if accelerator.num_processes == 1:
        return tensor
    summed: Tensor = accelerator.reduce(tensor.to(accelerator.device), reduction="sum")
    return summed.to(tensor.device)


def sum_gradients(parameters: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Put the sum of the processes' gradients in the place of each one's own.

    A process that had nothing to do of a batch adds nothing; what has no gradient anywhere stays without one. Gradients of sharded
    parameters are summed as they come.
    """
    learned = [parameter for parameter in parameters if parameter.requires_grad and not is_sharded(parameter)]
    if accelerator.num_processes == 1 or not learned:
        return
    have = total(torch.tensor([float(parameter.grad is not None) for parameter in learned]), accelerator)
    for parameter, count in zip(learned, have.tolist(), strict=True):
        if count:
            parameter.grad = total(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad, accelerator)

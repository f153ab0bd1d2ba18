"""Processes that train together: what each does of a batch, and sums over all of them.

Every process has the whole model, or a share of it (see `models.sharding`), and sees every batch; it computes its share, and what is
summed is the same everywhere afterwards, so all take the same steps and come to the same decisions. One process alone does everything
and sums nothing.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn

from models.sharding import is_sharded

T = TypeVar("T")
Stored = tuple[dict[str, Any], dict[str, Tensor]]
"""A record of JSON values, and tensors by name."""


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


def given_by_main(read: Callable[[], Stored | None]) -> Stored | None:
    """What the main process reads, or None where it finds nothing; where all processes are on one machine, each reads it itself."""
    if os.environ.get("WORLD_SIZE", "1") == os.environ.get("LOCAL_WORLD_SIZE", "1"):
        return read()
    accelerator = Accelerator()
    found = read() if accelerator.is_main_process else None
    kinds = found and {name: [list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in found[1].items()}
    record, kinds = json.loads(_told_by_main(json.dumps([found and found[0], kinds]), accelerator))
    if kinds is None:
        return None
    empty = {name: torch.empty(shape, dtype=getattr(torch, dtype)) for name, (shape, dtype) in kinds.items()}
    return record, {name: _passed_on(tensor, accelerator) for name, tensor in (found[1] if found else empty).items()}


def _told_by_main(text: str, accelerator: Accelerator) -> str:
    """The main process's text, as numbers and not as an object, which would be unpickled."""
    own = torch.tensor(list(text.encode()), dtype=torch.uint8)
    length = int(_passed_on(torch.tensor([len(own)]), accelerator))
    whole = _passed_on(own if accelerator.is_main_process else torch.empty(length, dtype=torch.uint8), accelerator)
    return bytes(whole.tolist()).decode()


def _passed_on(tensor: Tensor, accelerator: Accelerator) -> Tensor:
    """The main process's tensor in the place of each one's own, which is as large, on the CPU."""
    here = tensor.to(accelerator.device)
    dist.broadcast(here, 0)
    return here.cpu()

"""Models that are divided among processes (PyTorch's FSDP2): each holds a share of weights, gradients and optimizer.

While a model learns, every layer is gathered for as long as it computes, so all processes must make equally many passes. Where nothing
learns, a model is gathered once, as a whole, for any number of passes of each process. Checkpoints and artifacts hold whole tensors,
as one process writes them. What was not divided passes through all functions as it is.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(model: nn.Module, device: torch.device) -> None:
    """Divide a model among all processes, in place, while it moves to the device; what has no pass of its own, part by part.

    Gradients come as their sum over the processes. Make its optimizer afterwards.
    """
    if type(model).forward is nn.Module.forward:  # a reward model, whose backbone and head are called by themselves
        for name, buffer in model.named_buffers(recurse=False):
            setattr(model, name, buffer.to(device))
        for part in model.children():
            shard(part, device)
        return
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    names = set(getattr(model, "_no_split_modules", None) or ())  # what transformers itself keeps on one device: a layer
    for layer in [module for module in model.modules() if type(module).__name__ in names]:
        _shard(layer, mesh)
    _shard(model, mesh)


def _shard(module: Any, mesh: DeviceMesh) -> None:
    fully_shard(module, mesh=mesh)
    module.set_force_sum_reduction_for_comms(True)  # gloo has no mean
    module.set_gradient_divide_factor(1.0)


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process holds only a share of a tensor."""
    return isinstance(tensor, DTensor)


def held(tensor: Tensor) -> int:
    """How many numbers of a tensor this process holds."""
    return tensor.to_local().numel() if isinstance(tensor, DTensor) else tensor.numel()


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; where it is sharded, all processes have to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def share_of(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole tensor, on the device and divided as another one of its shape is; the tensor where that is whole."""
    if not isinstance(like, DTensor) or tensor.shape != like.shape:
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def whole_weights(model: nn.Module, *, keep: bool) -> dict[str, Tensor]:
    """All that a model is saved with, whole and on the CPU, tied weights once; nothing for a process that does not `keep` it."""
    names = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    gathered_ones = ((name, whole(tensor.detach())) for name, tensor in model.state_dict().items() if name in names)
    return {name: tensor.cpu() for name, tensor in gathered_ones if keep}


@contextmanager
def gathered(*models: Any) -> Iterator[None]:
    """Models as a whole in every process, for passes without gradients; all processes enter and leave together.

    Their parameters are plain tensors meanwhile; what is written into them is lost.
    """
    roots = [root for model in models if isinstance(model, nn.Module) for root in _roots(model)]
    parts = [part for root in roots for part in root.modules() if isinstance(part, FSDPModule)]
    for root in roots:
        root.set_reshard_after_forward(False)
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
        for root in roots:
            root.set_reshard_after_forward(True)
            root.set_reshard_after_forward(False, recurse=False)  # it is the first that the backward pass needs again


def _roots(model: nn.Module) -> Iterable[Any]:
    """What was divided by a call of `shard`."""
    return [model] if isinstance(model, FSDPModule) else [root for child in model.children() for root in _roots(child)]

"""The parts of a Llama's layer that cost more in passes over memory than in arithmetic, with their derivatives written by hand.

Composed of the library's operations, a norm or a rotation passes over its tensor about ten times, forward and backward; here about four.
Shapes: N tokens, D numbers of a head.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def unit_rms(states: Tensor, epsilon: float) -> Tensor:
    """States (N, width) over the root of their mean square: RMSNorm (Zhang and Sennrich, arXiv:1910.07467) without its weight."""
    if states.is_cuda:  # there the library has one kernel for it, and on a CPU about ten passes
        return F.rms_norm(states, states.shape[-1:], None, epsilon)
    normed: Tensor = _apply(_UnitRMS, states, epsilon)
    return normed


def turned_heads(states: Tensor, weight: Tensor, turns: Tensor, heads: Sequence[int], turned: int) -> tuple[Tensor, ...]:
    """Projections of states (N, width) by a weight (sum(heads)·D, width), one (N, n, D) per n of `heads`; the first `turned` are rotated.

    A head's numbers are D/2 pairs; `turns` (N, 1, D/2) are the complex numbers that pairs, as complex numbers, are multiplied by:
    rotary positions (Su et al., arXiv:2104.09864, equation 34).
    """
    parts: tuple[Tensor, ...] = _apply(_TurnedHeads, states, weight, turns, heads, turned)
    return parts


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) · up, (N, inner), of both side by side (N, 2·inner): SwiGLU (Shazeer, arXiv:2002.05202)."""
    product: Tensor = _apply(_Gated, gate_up)
    return product


def _apply(function: Any, *arguments: Any) -> Any:
    """Call a function whose derivative autograd is told, where anybody will ask for it; torch gives `apply` no types."""
    return function.apply(*arguments) if torch.is_grad_enabled() else function.forward(_Forgetful(), *arguments)


class _Forgetful:
    """Stands in for autograd's memory where no derivative is asked for; to go through autograd costs as much as some of the functions."""

    def save_for_backward(self, *_: Tensor) -> None:
        """Keep nothing."""


class _UnitRMS(Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, epsilon: float) -> Tensor:
        exact = torch.promote_types(states.dtype, torch.float32)
        square = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=exact).square_()
        scale = square.div_(states.shape[-1]).add_(epsilon).rsqrt_()
        normed = torch.mul(states, scale, out=torch.empty_like(states))
        ctx.save_for_backward(normed, scale)
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """scale · (g − normed · mean(g · normed))"""
        [grad], (normed, scale) = grads, ctx.saved_tensors
        along = (grad * normed).mean(-1, keepdim=True)
        return torch.addcmul(grad, normed, along, value=-1).mul_(scale), None


class _TurnedHeads(Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, turns: Tensor, heads: Sequence[int], turned: int) -> tuple[Tensor, ...]:
        ctx.save_for_backward(states, weight, turns)
        ctx.turned = turned
        mixed = F.linear(states, weight).view(len(states), sum(heads), -1)
        _turn(mixed[:, :turned], turns)
        return torch.split(mixed, list(heads), 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        states, weight, turns = ctx.saved_tensors
        mixed = torch.cat(grads, 1)
        _turn(mixed[:, : ctx.turned], turns.conj())
        flat = mixed.flatten(1)
        return flat @ weight, flat.t() @ states, None, None, None


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        share = torch.sigmoid(gate)
        ctx.save_for_backward(gate_up, share)
        return (gate * share).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """silu = gate · share, and its derivative is share + silu · (1 − share)"""
        [grad], (gate_up, share) = grads, ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        both = torch.empty_like(gate_up)
        of_gate, of_up = both.chunk(2, -1)
        silu = gate * share
        torch.mul(grad, silu, out=of_up)
        slope = (share + silu).addcmul_(silu, share, value=-1)
        torch.mul(slope.mul_(up), grad, out=of_gate)
        return both


def _turn(heads: Tensor, turns: Tensor) -> None:
    """Rotate heads (N, n, D) in place."""
    pairs = heads.view(*heads.shape[:-1], -1, 2)
    if heads.dtype == torch.bfloat16:  # there are no complex numbers of these
        pairs.copy_(torch.view_as_real(torch.view_as_complex(pairs.float()) * turns))
    else:
        torch.view_as_complex(pairs).mul_(turns)

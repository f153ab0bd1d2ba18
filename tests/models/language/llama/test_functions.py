"""The hand-written derivatives. Oracles: finite differences, and the same functions composed of torch's operations."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd import gradcheck

from models.language.llama.functions import gated, turned_heads, unit_rms

TOKENS, WIDTH = 5, 12


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_unit_rms_is_the_norm_without_a_weight() -> None:
    states = numbers(TOKENS, WIDTH)
    torch.testing.assert_close(unit_rms(states, 1e-3), F.rms_norm(states, (WIDTH,), eps=1e-3))
    assert gradcheck(lambda x: unit_rms(x, 1e-3), (states,))
    (slope,) = torch.autograd.grad(unit_rms(states, 1e-3).sum(), states, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.autograd.grad(slope.sum(), states)


def test_gated_is_silu_times_up() -> None:
    both = numbers(TOKENS, WIDTH)
    torch.testing.assert_close(gated(both), F.silu(both[:, :6]) * both[:, 6:])
    assert gradcheck(gated, (both,))


def test_heads_are_projected_and_turned() -> None:
    """Rotations as two-by-two matrices, of the first three of four heads."""
    states, weight, angles = numbers(TOKENS, WIDTH), numbers(4 * 6, WIDTH, seed=1), numbers(TOKENS, 3, seed=2).detach()
    turns = torch.polar(torch.ones_like(angles), angles)[:, None]
    matrices = torch.stack([angles.cos(), -angles.sin(), angles.sin(), angles.cos()], -1).unflatten(-1, (2, 2))
    plain = (states @ weight.t()).unflatten(-1, (4, 3, 2))
    expected = torch.cat([torch.einsum("nhpj,npij->nhpi", plain[:, :3], matrices), plain[:, 3:]], 1).flatten(2)
    found = turned_heads(states, weight, turns, (2, 2), 3)
    torch.testing.assert_close(torch.cat(found, 1), expected)
    assert gradcheck(lambda x, w: turned_heads(x, w, turns, (2, 2), 3), (states, weight))

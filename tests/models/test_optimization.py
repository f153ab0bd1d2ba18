"""What happens between a loss and the next. Oracles: hand calculation, torch's plain AdamW."""

import math

import pytest
import torch
from torch import nn

from data_contracts.errors import StageError
from models.optimization import StepGuard, adamw, set_learning_rate, warmup_cosine, warmup_linear


def test_learning_rates_by_hand() -> None:
    assert [warmup_linear(step, 10, 0.2) for step in (0, 1, 2, 6, 9)] == [0.5, 1.0, 1.0, 0.5, 0.125]
    assert [warmup_cosine(step, 10, 0.2, floor=0.1) for step in (0, 1, 2, 6, 10)] == pytest.approx([0.5, 1.0, 1.0, 0.55, 0.1])
    assert warmup_linear(0, 1, 0.0) == 1.0


def test_step_is_that_of_adamw_with_the_gradient_clipped_by_hand() -> None:
    ours, other = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    other.load_state_dict(ours.state_dict())
    optimizer, plain = adamw(ours, weight_decay=0.1), torch.optim.AdamW(other.parameters(), lr=0.01, weight_decay=0.1)
    set_learning_rate(optimizer, 0.01)
    ours.weight.grad = torch.tensor([[3.0, 4.0]])  # of norm 5
    other.weight.grad = torch.tensor([[0.6, 0.8]])
    assert StepGuard(1.0).step(ours.parameters(), optimizer) == pytest.approx(5.0)
    plain.step()
    torch.testing.assert_close(ours.weight, other.weight, atol=1e-6, rtol=0)
    assert ours.weight.grad is None


def test_weight_decay_spares_vectors() -> None:
    model = nn.Linear(3, 2)
    decays = {tuple(group["params"][0].shape): group["weight_decay"] for group in adamw(model, weight_decay=0.1).param_groups}
    assert decays == {(2, 3): 0.1, (2,): 0.0}


def test_steps_that_are_not_finite_are_skipped_and_fatal_at_the_third_in_a_row() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimizer, guard, before = adamw(model, weight_decay=0.0), StepGuard(1.0), model.weight.item()
    set_learning_rate(optimizer, 0.1)

    def step(gradient: float) -> None:
        model.weight.grad = torch.tensor([[gradient]])
        guard.step(model.parameters(), optimizer)

    step(math.nan)
    step(math.inf)
    assert model.weight.item() == before
    step(1.0)
    assert model.weight.item() != before
    assert (guard.skipped, guard.in_a_row) == (2, 0)
    step(math.nan)
    step(math.nan)
    with pytest.raises(StageError, match="3 steps in a row"):
        step(math.nan)
    assert guard.skipped == 5

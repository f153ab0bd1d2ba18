"""The mathematics of DPO against outside oracles: hand calculation, finite differences, where the loss is smallest."""

import math

import pytest
import torch

from models.dpo.dpo_math import PairLogprobs, dpo_losses, implicit_rewards


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_published_loss_by_hand() -> None:
    # −ln σ(β[(−1 + 3) − (−5 + 4)]) with β = 0.5: the margin is 1.5 and the loss ln(1 + e^−1.5).
    rewards = implicit_rewards(PairLogprobs(tensor(-1), tensor(-5)), PairLogprobs(tensor(-3), tensor(-4)), beta=0.5)
    assert (rewards.chosen.item(), rewards.rejected.item()) == (1.0, -0.5)
    loss = dpo_losses(rewards.chosen - rewards.rejected, tensor(1.0))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.5)), abs=1e-12)


def test_a_policy_that_is_the_reference_loses_ln_2() -> None:
    # Whatever the label: σ(0) is a half.
    assert dpo_losses(tensor(0, 0, 0), tensor(0.5, 0.7, 1)).tolist() == pytest.approx([math.log(2)] * 3)


@pytest.mark.parametrize("probability", [0.5, 0.6, 0.9])
def test_a_soft_label_is_met_at_its_log_odds(probability: float) -> None:
    # Theorem: cross-entropy is smallest where the model says the label's probability, at ln(p / (1 − p)), and is then the label's entropy.
    best = math.log(probability / (1 - probability))
    around = torch.linspace(best - 3, best + 3, 601, dtype=torch.float64)
    losses = dpo_losses(around, torch.full_like(around, probability))
    assert around[losses.argmin()].item() == pytest.approx(best, abs=1e-2)
    entropy = -(probability * math.log(probability) + (1 - probability) * math.log(1 - probability))
    assert losses.min().item() == pytest.approx(entropy, abs=1e-6)


def test_gradient_by_its_formula_and_by_finite_differences() -> None:
    # Rafailov et al., section 4: the gradient by the chosen response's logprob is −β · σ(−margin), by the rejected one's the opposite.
    chosen, rejected = tensor(-1.0, -2.0).requires_grad_(), tensor(-3.0, -1.0).requires_grad_()
    reference, beta = PairLogprobs(tensor(-2.0, -2.0), tensor(-2.5, -2.0)), 0.3

    def loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        rewards = implicit_rewards(PairLogprobs(a, b), reference, beta)
        return dpo_losses(rewards.chosen - rewards.rejected, tensor(1, 1)).sum()

    torch.autograd.backward(loss(chosen, rejected))
    margins = [0.3 * (1 + 0.5), 0.3 * (0 - 1)]
    expected = [-beta / (1 + math.exp(margin)) for margin in margins]
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.tolist() == pytest.approx(expected)
    assert rejected.grad.tolist() == pytest.approx([-value for value in expected])
    assert torch.autograd.gradcheck(loss, (chosen.detach().requires_grad_(), rejected.detach().requires_grad_()))


def test_margins_of_any_size_stay_finite() -> None:
    assert dpo_losses(tensor(-1e4, 1e4), tensor(1, 1)).tolist() == [1e4, 0]

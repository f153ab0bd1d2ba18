"""The mathematics of PPO against outside oracles: hand calculation, brute force, exact sums, finite differences."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.ppo.ppo_math import (
    AdaptiveKLController,
    end_penalised,
    entropy,
    explained_variance,
    gae,
    kl_k1,
    kl_k3,
    kl_loss,
    masked_mean,
    masked_whiten,
    per_token_rewards,
    policy_loss,
    value_loss,
)

CLIP = 0.2


def tensor(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def lengths_mask(lengths: list[int], width: int) -> Tensor:
    return torch.arange(width) < torch.tensor(lengths).unsqueeze(1)


def random_batch(lengths: list[int], width: int, seed: int, count: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    batch = [torch.randn(len(lengths), width, generator=generator, dtype=torch.float64) for _ in range(count)]
    return (lengths_mask(lengths, width), *batch)


some_lengths = st.lists(st.integers(1, 6), min_size=1, max_size=5)
seeds = st.integers(0, 10_000)


# Masked statistics: by hand.


def test_masked_mean_counts_only_what_the_mask_says() -> None:
    assert masked_mean(tensor([1, 2, 900], [6, math.nan, 900]), torch.tensor([[True, True, False], [True, False, False]])) == 3


def test_whitening_by_hand() -> None:
    # The counted values are 1, 3, 5, 7 over two responses: mean 4, population variance 5.
    values, mask = tensor([1, 3, 100], [5, 7, -100]), lengths_mask([2, 2], 3)
    root = math.sqrt(5)
    expected = tensor([-3 / root, -1 / root, 0], [1 / root, 3 / root, 0])
    torch.testing.assert_close(masked_whiten(values, mask), expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(masked_whiten(values, mask, keep_mean=True), (expected + 4) * mask, atol=1e-7, rtol=0)


@given(some_lengths, seeds)
@settings(max_examples=25)
def test_whitening_leaves_neither_mean_nor_scale(lengths: list[int], seed: int) -> None:
    mask, noise = random_batch(lengths, 6, seed, 1)
    values = 5 + 3 * noise
    counted, variance = masked_whiten(values, mask)[mask].numpy(), float(values[mask].numpy().var())
    assert counted.mean() == pytest.approx(0, abs=1e-9)
    assert counted.std() == pytest.approx(math.sqrt(variance / (variance + 1e-8)), rel=1e-6)  # 1, but for the epsilon under the root
    assert (masked_whiten(values, mask)[~mask] == 0).all()


def test_whitening_one_token_or_equal_tokens_gives_zero() -> None:
    assert masked_whiten(tensor([3, 8]), lengths_mask([1], 2)).tolist() == [[0, 0]]
    assert masked_whiten(tensor([2, 2]), lengths_mask([2], 2)).tolist() == [[0, 0]]


# KL: the exact sum over a small categorical, and its sign.

POLICY = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
REFERENCE = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
EXACT_KL = sum(p * math.log(p / q) for p, q in zip(POLICY.tolist(), REFERENCE.tolist(), strict=True))


@pytest.mark.parametrize("estimate", [kl_k1, kl_k3])
def test_kl_estimates_have_the_exact_kl_as_expectation_under_the_policy(estimate: object) -> None:
    # Weighting the estimate of every token with the policy's probability is the expectation, without sampling.
    expectation = (POLICY * estimate(POLICY.log(), REFERENCE.log())).sum()  # type: ignore[operator]
    assert expectation.item() == pytest.approx(EXACT_KL, abs=1e-12)
    assert EXACT_KL > 0.5  # so that a wrong sign shows


def test_k1_by_hand_and_k3_never_negative() -> None:
    logprobs, ref_logprobs = tensor([math.log(0.5), math.log(0.05)]), tensor([math.log(0.1), math.log(0.4)])
    torch.testing.assert_close(kl_k1(logprobs, ref_logprobs), tensor([math.log(5), -math.log(8)]))
    torch.testing.assert_close(kl_k3(logprobs, ref_logprobs), tensor([1 / 5 - 1 + math.log(5), 8 - 1 - math.log(8)]))
    assert (kl_k3(*random_batch([6], 6, 0, 2)[1:]) >= 0).all()


# Rewards: by hand.


def test_rewards_by_hand() -> None:
    logprobs = tensor([-1.0, -2.0, -3.0, 7.0], [-0.5, 7.0, 7.0, 7.0], [-1.0, -1.0, -1.0, -1.0])
    ref_logprobs = tensor([-1.5, -1.0, -3.0, -9.0], [-2.5, -9.0, -9.0, -9.0], [-1.0, -1.0, -1.0, -2.0])
    scores = torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64)
    rewards = per_token_rewards(logprobs, ref_logprobs, scores, lengths_mask([3, 1, 4], 4), kl_coef=0.1)
    expected = tensor([-0.05, 0.1, 10.0, 0], [20 - 0.2, 0, 0, 0], [0, 0, 0, 30 - 0.1])
    torch.testing.assert_close(rewards, expected)


def test_a_response_without_an_end_pays_the_penalty() -> None:
    scores, ended = torch.tensor([1.0, 1.0, 5.0]), torch.tensor([True, False, False])
    assert end_penalised(scores, ended, 3.0).tolist() == [1.0, -2.0, 2.0]
    assert end_penalised(scores, ended, 3.0, "replace").tolist() == [1.0, -3.0, -3.0]


# Advantages: the double loop of the definition.


def gae_by_definition(rewards: Tensor, values: Tensor, lengths: list[int], gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """A_t = Σ_l (γλ)^l (r_{t+l} + γ V_{t+l+1} − V_{t+l}), V = 0 from the end on; return = A + V."""
    advantages, returns = torch.zeros_like(rewards), torch.zeros_like(rewards)
    for row, length in enumerate(lengths):
        for t in range(length):
            for k in range(t, length):
                after = values[row, k + 1].item() if k + 1 < length else 0.0
                delta = rewards[row, k].item() + gamma * after - values[row, k].item()
                advantages[row, t] += (gamma * lam) ** (k - t) * delta
            returns[row, t] = advantages[row, t] + values[row, t]
    return advantages, returns


@given(some_lengths, seeds, st.sampled_from([1.0, 0.9, 0.5]), st.sampled_from([1.0, 0.95, 0.3, 0.0]))
@settings(max_examples=40)
def test_gae_is_its_definition(lengths: list[int], seed: int, gamma: float, lam: float) -> None:
    mask, rewards, values = random_batch(lengths, 6, seed, 2)
    result = gae(rewards, values, mask, gamma=gamma, gae_lambda=lam)
    advantages, returns = gae_by_definition(rewards, values, lengths, gamma, lam)
    torch.testing.assert_close(result.advantages, advantages, atol=1e-12, rtol=0)
    torch.testing.assert_close(result.returns, returns, atol=1e-12, rtol=0)


def test_gae_by_hand() -> None:
    # δ = [1 + .5·4 − 2, 3 − 4] = [1, −1]; γλ = .25; A = [1 − .25, −1]; returns = A + V.
    result = gae(tensor([1, 3, 50]), tensor([2, 4, 60]), lengths_mask([2], 3), gamma=0.5, gae_lambda=0.5)
    assert result.advantages.tolist() == [[0.75, -1, 0]]
    assert result.returns.tolist() == [[2.75, 3, 0]]


def test_with_lambda_one_returns_are_the_sums_of_rewards_to_come() -> None:
    # Theorem: for γ = λ = 1 the values cancel (the sum telescopes).
    mask, rewards, values = random_batch([5, 3], 6, 1, 2)
    returns = gae(rewards, values, mask, gamma=1, gae_lambda=1).returns
    for row, length in enumerate([5, 3]):
        for t in range(length):
            assert returns[row, t].item() == pytest.approx(rewards[row, t:length].sum().item(), abs=1e-12)


# Policy loss: cases by hand, the gradient by its formula and by finite differences.

RATIO_CASES = [
    # ratio, advantage, loss = −min(ρA, clip(ρ)A), whether clipping takes the gradient away
    (1.0, 2.0, -2.0, False),
    (1.5, 2.0, -2.4, True),
    (1.5, -2.0, 3.0, False),
    (0.5, 2.0, -1.0, False),
    (0.5, -2.0, 1.6, True),
    (1.1, -1.0, 1.1, False),
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "clipped"), RATIO_CASES)
def test_policy_loss_by_hand(ratio: float, advantage: float, loss: float, clipped: bool) -> None:
    logprobs = tensor([-1.0 + math.log(ratio), 4.0]).requires_grad_()
    result = policy_loss(logprobs, tensor([-1.0, -4.0]), tensor([advantage, 99.0]), lengths_mask([1], 2), clip_range=CLIP, token_count=1)
    torch.autograd.backward(result.loss)
    assert result.loss.item() == pytest.approx(loss)
    assert result.clip_fraction.item() == float(clipped)
    assert result.ratio.item() == pytest.approx(ratio)
    assert result.approx_kl.item() == pytest.approx(ratio - 1 - math.log(ratio))
    # By hand: d(−ρA)/d logprob = −ρA where the unclipped branch holds, 0 where the clipped one does, 0 on padding.
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[pytest.approx(0 if clipped else -ratio * advantage), 0]]


def test_policy_loss_gradient_by_finite_differences() -> None:
    mask, logprobs, old, advantages = random_batch([4, 2, 1], 5, 3, 3)

    def loss(x: Tensor) -> Tensor:
        return policy_loss(x, old, advantages, mask, clip_range=CLIP, token_count=7).loss

    assert torch.autograd.gradcheck(loss, (logprobs.requires_grad_(),))


def test_equal_policies_have_ratio_one_and_no_clipping() -> None:
    mask, logprobs, advantages = random_batch([4, 2], 5, 3, 2)
    result = policy_loss(logprobs, logprobs.clone(), advantages, mask, clip_range=CLIP, token_count=6)
    assert (result.clip_fraction.item(), result.approx_kl.item(), result.ratio.item()) == (0, 0, 1)
    assert result.loss.item() == pytest.approx(-sum(advantages[mask].tolist()) / 6)


def test_kl_as_a_loss_by_hand() -> None:
    # k3 of log-ratios −ln 2 and ln 2 is 1/2 − 1 + ln 2 and 2 − 1 − ln 2; its derivative by the logprob is 1 − exp(ref_logprob − logprob).
    logprobs = tensor([-1.0, -1.0, 3.0]).requires_grad_()
    ref_logprobs = tensor([-1.0 - math.log(2), -1.0 + math.log(2), -3.0])
    loss = kl_loss(logprobs, ref_logprobs, lengths_mask([2], 3), token_count=2)
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx((0.5 - 1 + 2 - 1) / 2)
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [[pytest.approx(0.5 / 2), pytest.approx(-1 / 2), 0]]


# Value loss: cases by hand, gradient by its formula.

VALUE_CASES = [
    # value, old value, return, loss, d loss / d value, whether the clipped error is the larger
    (1.0, 1.0, 3.0, 2.0, -2.0, False),
    (2.0, 1.0, 3.0, 0.5 * 1.8**2, 0.0, True),
    (2.0, 1.0, 0.0, 2.0, 2.0, False),
    (0.9, 1.0, 0.0, 0.405, 0.9, False),
]


@pytest.mark.parametrize(("value", "old", "target", "loss", "slope", "clipped"), VALUE_CASES)
def test_value_loss_by_hand(value: float, old: float, target: float, loss: float, slope: float, clipped: bool) -> None:
    values = tensor([value, 50.0]).requires_grad_()
    result = value_loss(values, tensor([old, 0.0]), tensor([target, 0.0]), lengths_mask([1], 2), clip_range=CLIP, token_count=1)
    torch.autograd.backward(result.loss)
    assert result.loss.item() == pytest.approx(loss)
    assert result.clip_fraction.item() == float(clipped)
    assert values.grad is not None
    assert values.grad.tolist() == [[pytest.approx(slope), 0]]


def test_value_loss_inside_the_clip_range_is_half_the_squared_error() -> None:
    mask, old, returns, noise = random_batch([4, 2, 3], 5, 5, 3)
    values = (old + 0.1 * noise.clamp(-1, 1)).requires_grad_()
    loss = value_loss(values, old, returns, mask, clip_range=CLIP, token_count=9).loss
    torch.autograd.backward(loss)
    expected = sum(0.5 * (values[i, t] - returns[i, t]).item() ** 2 for i, t in itertools.product(range(3), range(5)) if mask[i, t]) / 9
    assert loss.item() == pytest.approx(expected)
    torch.testing.assert_close(values.grad, torch.where(mask, (values - returns).detach() / 9, 0))


# Microbatches: 8 × 1 equals 1 × 8 in losses and gradients.


@given(st.lists(st.integers(1, 6), min_size=8, max_size=8), seeds, st.sampled_from([1, 2, 3, 8]))
@settings(max_examples=20)
def test_microbatches_add_up_to_the_minibatch(lengths: list[int], seed: int, size: int) -> None:
    mask, features, old, advantages, returns = random_batch(lengths, 6, seed, 4)
    tokens = int(mask.sum())

    def run(parts: list[slice]) -> tuple[float, Tensor]:
        weight = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
        total = 0.0
        for part in parts:
            outputs = weight * features[part]
            loss = policy_loss(outputs, old[part], advantages[part], mask[part], clip_range=CLIP, token_count=tokens).loss
            loss = loss + value_loss(outputs, old[part], returns[part], mask[part], clip_range=CLIP, token_count=tokens).loss
            torch.autograd.backward(loss)
            total += loss.item()
        assert weight.grad is not None
        return total, weight.grad

    whole, whole_gradient = run([slice(0, 8)])
    parts, parts_gradient = run([slice(start, start + size) for start in range(0, 8, size)])
    assert parts == pytest.approx(whole, abs=1e-12)
    torch.testing.assert_close(parts_gradient, whole_gradient, atol=1e-12, rtol=1e-6)


# Figures.


def test_entropy_by_hand() -> None:
    probabilities = [0.5, 0.25, 0.25]
    logits = torch.tensor([[[0.0] * 3, [math.log(p) + 5 for p in probabilities], [900.0, 0.0, 0.0]]], dtype=torch.float64)
    assert entropy(logits)[0].tolist() == pytest.approx([math.log(3), 1.5 * math.log(2), 0], abs=1e-12)


def test_explained_variance_by_hand() -> None:
    mask, returns = lengths_mask([4], 5), tensor([1, 2, 3, 4, 99])
    assert explained_variance(returns, returns, mask).item() == 1
    assert explained_variance(torch.zeros_like(returns), returns, mask).item() == 0
    # Errors −1, 1, −1, 1 have variance 1; the returns' is 1.25.
    assert explained_variance(tensor([2, 1, 4, 3, 0]), returns, mask).item() == pytest.approx(1 - 1 / 1.25)
    assert explained_variance(returns, torch.ones_like(returns), mask).item() == 0


@pytest.mark.parametrize(("kl", "factor"), [(60.0, 1.2), (6.6, 1.1), (6.0, 1.0), (5.4, 0.9), (0.0, 0.8)])
def test_controller_moves_by_the_clipped_error(kl: float, factor: float) -> None:
    controller = AdaptiveKLController(kl_coef=0.05, target=6.0, horizon=10_000)
    controller.update(kl, episodes=10_000)
    assert controller.kl_coef == pytest.approx(0.05 * factor)
    controller.update(6.0, episodes=128)
    assert controller.kl_coef == pytest.approx(0.05 * factor)


def test_controller_moves_in_proportion_to_episodes_and_a_fixed_one_stays() -> None:
    controller = AdaptiveKLController(kl_coef=0.1, target=6.0, horizon=10_000)
    controller.update(600.0, episodes=100)
    assert controller.kl_coef == pytest.approx(0.1 * (1 + 0.2 * 100 / 10_000))
    fixed = AdaptiveKLController(kl_coef=0.1, target=None, horizon=10_000)
    fixed.update(600.0, episodes=100)
    assert fixed.kl_coef == 0.1

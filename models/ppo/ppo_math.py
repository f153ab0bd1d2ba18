"""The mathematics of PPO for language models: pure functions on tensors.

Shapes: B responses, T response tokens, V vocabulary. `mask` is a response mask (B, T): True = the token counts. Responses start at
column 0 and are padded on the right, so that a response's length is the number of its True values.

Losses are sums over tokens divided by `token_count`, the number of tokens of the whole minibatch over all processes: adding the
losses and figures of microbatches, however they are cut, gives those of the minibatch.

After Schulman et al., "Proximal Policy Optimization Algorithms" (arXiv:1707.06347), "High-Dimensional Continuous Control Using
Generalized Advantage Estimation" (arXiv:1506.02438), and Ziegler et al., "Fine-Tuning Language Models from Human Preferences"
(arXiv:1909.08593).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from models.policy_configs import MissingEnd

WHITENING_EPSILON = 1e-8
KL_ERROR_LIMIT = 0.2
"""The adaptive controller never sees the KL further than this share away from its target."""


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean () of the values (B, T) that count."""
    return torch.where(mask, values, 0).sum() / mask.sum()


def masked_whiten(values: Tensor, mask: Tensor, *, keep_mean: bool = False) -> Tensor:
    """The values (B, T) that count, brought to mean 0 and variance 1 over the whole batch; the others become 0.

    With `keep_mean` only the scale changes around the mean, which stays. The variance is the population's.
    """
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean).square(), mask)
    whitened = (values - mean) * torch.rsqrt(variance + WHITENING_EPSILON)
    return torch.where(mask, whitened + mean if keep_mean else whitened, 0)


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Per-token estimate k1 (B, T) of KL(policy ‖ reference) for tokens sampled from the policy: unbiased, may be negative."""
    return logprobs - ref_logprobs


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Per-token estimate k3 (B, T) = exp(d) − 1 − d with d = ref_logprobs − logprobs: unbiased, never negative (Schulman, 2020)."""
    d = ref_logprobs - logprobs
    return torch.expm1(d) - d


def clipped(scores: Tensor, limit: float | None) -> Tensor:
    """Scores (B,) within ± the limit, where there is one."""
    return scores if limit is None else scores.clamp(-limit, limit)


def end_penalised(scores: Tensor, ended: Tensor, penalty: float, how: MissingEnd = "subtract") -> Tensor:
    """Scores (B,); where a response did not end by itself (`ended` (B,) is False), less the penalty, or minus the penalty instead.

    To subtract keeps the order among responses without an end; to replace takes from them whatever else was good.
    """
    return torch.where(ended, scores, (scores if how == "subtract" else 0) - penalty)


def per_token_rewards(logprobs: Tensor, ref_logprobs: Tensor, scores: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Rewards (B, T): −kl_coef · (logprobs − ref_logprobs) on every token, and the score (B,) added on each response's last one."""
    rewards = torch.where(mask, -kl_coef * kl_k1(logprobs, ref_logprobs), 0)
    last = mask.sum(dim=1, keepdim=True) - 1
    return rewards.scatter_add(1, last, scores.to(rewards.dtype).unsqueeze(1))


class Gae(NamedTuple):
    """What generalised advantage estimation gives."""

    advantages: Tensor
    """(B, T), not whitened; 0 on padding."""
    returns: Tensor
    """(B, T), advantages + values: what the value model learns; 0 on padding."""


def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, gae_lambda: float) -> Gae:
    """Generalised advantage estimation over rewards and values (B, T).

    A_t = Σ_{l ≥ 0} (γλ)^l δ_{t+l} with δ_t = r_t + γ V_{t+1} − V_t, and V = 0 after a response's last token.
    The sum over l is one product with a (T, T) matrix.
    """
    rewards, values = torch.where(mask, rewards, 0), torch.where(mask, values, 0)
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)
    deltas = rewards + gamma * next_values - values
    steps = torch.arange(mask.shape[1], device=values.device)
    distance = steps.unsqueeze(1) - steps
    weights = torch.tril((gamma * gae_lambda) ** distance.clamp(min=0).to(values.dtype))
    advantages = torch.where(mask, deltas @ weights, 0)
    return Gae(advantages, advantages + values)


class PolicyLoss(NamedTuple):
    """The clipped policy loss of a microbatch and its figures, each (), each a part of the minibatch's."""

    loss: Tensor
    clip_fraction: Tensor
    """Share of tokens whose gradient the clipping takes away."""
    approx_kl: Tensor
    """Estimate k3 of KL(old policy ‖ policy), in nats per token."""
    ratio: Tensor
    """Mean probability ratio of policy and old policy."""


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, *, clip_range: float, token_count: Tensor | int
) -> PolicyLoss:
    """PPO's clipped surrogate: −min(ρA, clip(ρ, 1 ± clip_range)·A) over tokens (B, T), ρ = exp(logprobs − old_logprobs)."""
    log_ratio = torch.where(mask, logprobs - old_logprobs, 0)
    advantages = torch.where(mask, advantages, 0)
    ratio = log_ratio.exp()
    unclipped = ratio * advantages
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range) * advantages
    with torch.no_grad():
        drift = torch.where(mask, ratio - 1 - log_ratio, 0)
    return PolicyLoss(
        loss=-torch.minimum(unclipped, clipped).sum() / token_count,
        clip_fraction=(clipped < unclipped).sum() / token_count,
        approx_kl=drift.sum() / token_count,
        ratio=torch.where(mask, ratio.detach(), 0).sum() / token_count,
    )


def kl_loss(logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, *, token_count: Tensor | int) -> Tensor:
    """KL from the reference as a loss (): Σ k3 / tokens over tokens (B, T), as GRPO pays it (Shao et al., arXiv:2402.03300)."""
    return torch.where(mask, kl_k3(logprobs, ref_logprobs), 0).sum() / token_count


class ValueLoss(NamedTuple):
    """The clipped value loss of a microbatch and its figure, each (), each a part of the minibatch's."""

    loss: Tensor
    clip_fraction: Tensor
    """Share of tokens where the clipped error is the larger one."""


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, *, clip_range: float, token_count: Tensor | int
) -> ValueLoss:
    """½·max((V − R)², (clip(V, V_old ± clip_range) − R)²) over tokens (B, T)."""
    error = (values - returns).square()
    clipped = torch.clamp(values, old_values - clip_range, old_values + clip_range)
    clipped_error = (clipped - returns).square()
    worst = torch.where(mask, torch.maximum(error, clipped_error), 0)
    return ValueLoss(loss=0.5 * worst.sum() / token_count, clip_fraction=(mask & (clipped_error > error)).sum() / token_count)


def entropy(logits: Tensor) -> Tensor:
    """Entropy (B, T), in nats, of the distributions with these logits (B, T, V)."""
    logprobs = torch.log_softmax(logits, dim=-1)
    return -(logprobs.exp() * logprobs).sum(dim=-1)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 − Var(returns − values) / Var(returns) () over the tokens that count; 0 where the returns do not vary."""

    def variance(x: Tensor) -> Tensor:
        return masked_mean((x - masked_mean(x, mask)).square(), mask)

    of_returns = variance(returns)
    return torch.where(of_returns > 0, 1 - variance(returns - values) / of_returns, 0)


@dataclass
class AdaptiveKLController:
    """Moves the price of KL so that the KL per response comes to its target (Ziegler et al., section 2.2)."""

    kl_coef: float
    target: float | None
    """Nats per response; None keeps the price fixed."""
    horizon: int
    """Episodes over which the price moves."""

    def update(self, kl: float, episodes: int) -> None:
        """Take the mean KL per response of a rollout of so many episodes into account."""
        if self.target is not None:
            error = min(max(kl / self.target - 1, -KL_ERROR_LIMIT), KL_ERROR_LIMIT)
            self.kl_coef *= 1 + error * episodes / self.horizon

"""One PPO update: from a rollout to rewards and advantages, and the epochs of minibatches that learn from them."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer

from models.configs import PPOConfig
from models.language.diversity import distinct_2, repetition
from models.language.language_model import LanguageModel, response_batch, response_logprobs
from models.optimization import StepGuard, adamw, set_learning_rate
from models.ppo.ppo_math import (
    PolicyLoss,
    ValueLoss,
    end_penalised,
    explained_variance,
    gae,
    kl_k1,
    kl_k3,
    masked_mean,
    masked_whiten,
    per_token_rewards,
    policy_loss,
    value_loss,
)
from models.ppo.rollout import Rollout, microbatches
from models.ppo.value_model import response_values
from models.randomness import generator
from models.reward.reward_model import RewardModel


@dataclass(frozen=True)
class Learner:
    """The two models that learn, each with its optimizer and the guard over its steps."""

    policy: LanguageModel
    value: RewardModel
    policy_optimizer: Optimizer
    value_optimizer: Optimizer
    policy_guard: StepGuard
    value_guard: StepGuard
    accelerator: Accelerator
    pad_id: int

    @property
    def steps_skipped(self) -> int:
        """Steps of either model, so far, whose gradient was not finite."""
        return self.policy_guard.skipped + self.value_guard.skipped


class Lesson(NamedTuple):
    """What a rollout teaches. Shapes: B responses, T response tokens; 0 on padding."""

    rewards: Tensor
    """(B, T), −kl_coef·kl per token plus the score, less a missing end's penalty, at the last one."""
    returns: Tensor
    """(B, T), what the value model learns, from advantages that are not normalised."""
    normalized_advantages: Tensor
    """(B, T), whitened over the whole rollout."""


class StepFigures(NamedTuple):
    """The figures of one optimizer step of policy and value model."""

    policy_loss: float
    value_loss: float
    clip_fraction: float
    value_clip_fraction: float
    approx_kl: float
    ratio: float
    policy_grad_norm: float
    value_grad_norm: float


def new_learner(policy: LanguageModel, value: RewardModel, config: PPOConfig, accelerator: Accelerator, pad_id: int) -> Learner:
    """A learner at its first step."""
    return Learner(
        policy=accelerator.prepare_model(policy),
        value=accelerator.prepare_model(value),
        policy_optimizer=adamw(policy, weight_decay=0.0, eps=config.adam_epsilon),
        value_optimizer=adamw(value, weight_decay=0.0, eps=config.adam_epsilon),
        policy_guard=StepGuard(config.max_grad_norm),
        value_guard=StepGuard(config.max_grad_norm),
        accelerator=accelerator,
        pad_id=pad_id,
    )


def make_lesson(rollout: Rollout, config: PPOConfig, kl_coef: float) -> Lesson:
    """Rewards, returns and advantages of a rollout."""
    mask = rollout.response_mask
    scores = end_penalised(_clipped(rollout.scores, config.score_clip), rollout.ended, config.missing_eos_penalty, config.missing_eos)
    rewards = per_token_rewards(rollout.logprobs, rollout.ref_logprobs, scores, mask, kl_coef)
    learnt = masked_whiten(rewards, mask, keep_mean=True) if config.whiten_rewards else rewards
    advantages, returns = gae(learnt, rollout.values, mask, gamma=config.gamma, gae_lambda=config.gae_lambda)
    return Lesson(rewards, returns, masked_whiten(advantages, mask))


def learn(learner: Learner, rollout: Rollout, lesson: Lesson, config: PPOConfig, update: int) -> list[StepFigures]:
    """All epochs of one update (counted from 0), or those up to `approx_kl_stop`; the figures of each optimizer step.

    The learning rates fall in a straight line from the first step of the run to 0 after its last one.
    """
    learner.policy.train()
    learner.value.train()
    size = len(rollout.responses)
    starts = range(0, size, config.minibatch_size)
    figures = []
    for epoch in range(config.epochs):
        order = generator(config.seed, "minibatches", update, epoch).permutation(size).tolist()
        for number, start in enumerate(starts):
            step = (update * config.epochs + epoch) * len(starts) + number
            left = 1 - step / (config.updates * config.epochs * len(starts))
            set_learning_rate(learner.policy_optimizer, config.learning_rate * left)
            set_learning_rate(learner.value_optimizer, config.value_learning_rate * left)
            figures.append(_step(learner, rollout, lesson, config, order[start : start + config.minibatch_size]))
            if config.approx_kl_stop is not None and figures[-1].approx_kl > config.approx_kl_stop:
                return figures
    return figures


def update_figures(rollout: Rollout, lesson: Lesson, steps: list[StepFigures]) -> dict[str, float | None]:
    """The figures of one update: of its rollout, before any step, and the means over its steps (None when not finite)."""
    mask = rollout.response_mask
    of_rollout = {
        "score": rollout.scores.mean(),
        "disagreement": rollout.disagreement.mean(),
        "reward": lesson.rewards.sum(1).mean(),
        "kl_k1": mean_kl(rollout),
        "kl_k3": (kl_k3(rollout.logprobs, rollout.ref_logprobs) * mask).sum(1).mean(),
        "entropy": masked_mean(rollout.entropy, mask),
        "explained_variance": explained_variance(rollout.values, lesson.returns, mask),
        "response_length": mask.sum(1).double().mean(),
        "ended_share": rollout.ended.double().mean(),
        "distinct_2": distinct_2(rollout.text),
        "repetition": repetition(rollout.responses),
        "steps": len(steps),
    }
    of_steps = {name: sum(values) / len(steps) for name, values in zip(StepFigures._fields, zip(*steps, strict=True), strict=True)}
    return {name: _finite(float(value)) for name, value in {**of_rollout, **of_steps}.items()}


def mean_kl(rollout: Rollout) -> Tensor:
    """Mean over responses () of the KL from the reference in nats per response, by estimator k1."""
    return (kl_k1(rollout.logprobs, rollout.ref_logprobs) * rollout.response_mask).sum(1).mean()


def _step(learner: Learner, rollout: Rollout, lesson: Lesson, config: PPOConfig, rows: list[int]) -> StepFigures:
    """One optimizer step on a minibatch; gradients add up over its microbatches."""
    tokens = sum(len(rollout.responses[i]) for i in rows)
    of_policy, of_value = [], []
    for part in microbatches(rows, rollout.prompts, rollout.responses, config.microbatch_size):
        policy_part, value_part = _losses(learner, rollout, lesson, config, part, tokens)
        learner.accelerator.backward(policy_part.loss + value_part.loss)  # the models share no weights: two gradients in one pass
        of_policy.append(policy_part)
        of_value.append(value_part)
    policy_sums = PolicyLoss(*(torch.stack(values).sum() for values in zip(*of_policy, strict=True)))
    value_sums = ValueLoss(*(torch.stack(values).sum() for values in zip(*of_value, strict=True)))
    return StepFigures(
        policy_loss=policy_sums.loss.item(),
        value_loss=value_sums.loss.item(),
        clip_fraction=policy_sums.clip_fraction.item(),
        value_clip_fraction=value_sums.clip_fraction.item(),
        approx_kl=policy_sums.approx_kl.item(),
        ratio=policy_sums.ratio.item(),
        policy_grad_norm=learner.policy_guard.step(learner.policy.parameters(), learner.policy_optimizer),
        value_grad_norm=learner.value_guard.step(learner.value.parameters(), learner.value_optimizer),
    )


def _losses(
    learner: Learner, rollout: Rollout, lesson: Lesson, config: PPOConfig, rows: list[int], tokens: int
) -> tuple[PolicyLoss, ValueLoss]:
    """The two losses of a microbatch, as parts of those of its minibatch of so many tokens."""
    prompts, responses = [rollout.prompts[i] for i in rows], [rollout.responses[i] for i in rows]
    batch = response_batch(prompts, responses, learner.pad_id, rollout.logprobs.device)
    mask, width = batch.response_mask, batch.responses.shape[1]

    def own(whole: Tensor) -> Tensor:
        return whole[rows, :width]

    return (
        policy_loss(
            response_logprobs(learner.policy, batch, config.sampling.temperature),
            own(rollout.logprobs),
            own(lesson.normalized_advantages),
            mask,
            clip_range=config.clip_range,
            token_count=tokens,
        ),
        value_loss(
            response_values(learner.value, batch),
            own(rollout.values),
            own(lesson.returns),
            mask,
            clip_range=config.value_clip_range,
            token_count=tokens,
        ),
    )


def _clipped(scores: Tensor, limit: float | None) -> Tensor:
    """Scores within ± the limit, where there is one."""
    return scores if limit is None else scores.clamp(-limit, limit)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

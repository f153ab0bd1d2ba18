"""One PPO update: from a rollout to rewards and advantages, and the epochs of minibatches that learn from them."""

import sys
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from data_contracts.errors import StageError
from models.configs import Precision
from models.language.diversity import distinct_2, repetition
from models.language.language_model import ResponseBatch, logprobs_of, read_responses, response_batch
from models.metrics import finite
from models.policy_configs import PPOConfig
from models.ppo.group_advantages import group_normalised, leave_one_out, less_batch_mean
from models.ppo.ppo_math import (
    PolicyLoss,
    ValueLoss,
    clipped,
    end_penalised,
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
from models.ppo.ptx import PretrainingMix
from models.ppo.rollout import Rollout, by_length, microbatches, pass_tokens
from models.ppo.trainees.learner import Learner
from models.ppo.trainees.value_model import response_values
from models.precision import computing_in
from models.processes import own_share, total
from models.randomness import generator


class Lesson(NamedTuple):
    """What a rollout teaches. Shapes: B responses, T response tokens; 0 on padding."""

    rewards: Tensor
    """(B, T), the score, less a missing end's penalty, at the last token, and −kl_coef·kl per token unless the loss has it."""
    returns: Tensor | None
    """(B, T), what the value model learns, from advantages that are not normalised; None without a value model."""
    normalized_advantages: Tensor
    """(B, T), as the policy's loss takes them: whitened over the rollout by `ppo`, the relatives' as their formulas say."""
    kl_loss_coef: float
    """Price of KL in the policy's loss; 0 where the rewards have paid for it."""


class StepFigures(NamedTuple):
    """The figures of one optimizer step; None where there is no value model, and no corpus."""

    policy_loss: float
    clip_fraction: float
    approx_kl: float
    ratio: float
    policy_grad_norm: float
    value_loss: float | None = None
    value_clip_fraction: float | None = None
    value_grad_norm: float | None = None
    ptx_loss: float | None = None


def make_lesson(rollout: Rollout, config: PPOConfig, kl_coef: float) -> Lesson:
    """Rewards, returns and advantages of a rollout."""
    mask = rollout.response_mask
    kl_loss_coef = kl_coef if config.method == "grpo" else 0.0
    scores = end_penalised(clipped(rollout.scores, config.score_clip), rollout.ended, config.missing_eos_penalty, config.missing_eos)
    rewards = per_token_rewards(rollout.logprobs, rollout.ref_logprobs, scores, mask, kl_coef - kl_loss_coef)
    if config.method != "ppo" or rollout.values is None:
        worth = _worth(rewards.sum(1), config)
        return Lesson(rewards, None, torch.where(mask, worth[:, None], 0), kl_loss_coef)
    learnt = masked_whiten(rewards, mask, keep_mean=True) if config.whiten_rewards else rewards
    advantages, returns = gae(learnt, rollout.values, mask, gamma=config.gamma, gae_lambda=config.gae_lambda)
    return Lesson(rewards, returns, masked_whiten(advantages, mask), kl_loss_coef)


def _worth(returns: Tensor, config: PPOConfig) -> Tensor:
    """What each response (B,) was worth beside others, by the methods without a value model."""
    if config.method == "reinforce":
        return less_batch_mean(returns)
    if config.method == "rloo":
        return leave_one_out(returns, config.samples_per_prompt)
    return group_normalised(returns, config.samples_per_prompt)


def learn(
    learner: Learner, rollout: Rollout, lesson: Lesson, config: PPOConfig, update: int, mix: PretrainingMix | None = None
) -> list[StepFigures]:
    """All epochs of one update (counted from 0), or those up to `approx_kl_stop`; the figures of each optimizer step.

    The learning rates fall in a straight line from the first step of the run to 0 after its last one.
    """
    for trainee in learner.trainees.values():
        trainee.model.train()
    size = len(rollout.responses)
    starts = range(0, size, config.minibatch_size)
    figures = []
    for epoch in range(config.epochs):
        order = generator(config.seed, "minibatches", update, epoch).permutation(size).tolist()
        for number, start in enumerate(starts):
            step = (update * config.epochs + epoch) * len(starts) + number
            left = 1 - step / (config.updates * config.epochs * len(starts))
            learner.set_learning_rates(config.learning_rate * left, config.value_learning_rate * left)
            rows = order[start : start + config.minibatch_size]
            only_value = update < config.value_warmup
            of_corpus = None if mix is None or only_value else _corpus_loss(learner, mix, step, config.precision)
            found = _step(learner, rollout, lesson, config, rows, only_value=only_value)
            figures.append(found._replace(ptx_loss=of_corpus))
            if config.approx_kl_stop is not None and figures[-1].approx_kl > config.approx_kl_stop:
                return figures
    return figures


def update_figures(rollout: Rollout, lesson: Lesson, steps: list[StepFigures]) -> dict[str, float | None]:
    """The figures of one update: of its rollout, before any step, and the means over its steps (None when not finite)."""
    mask = rollout.response_mask
    of_rollout: dict[str, Tensor | float] = {
        "score": rollout.scores.mean(),
        "disagreement": rollout.disagreement.mean(),
        "reward": lesson.rewards.sum(1).mean(),
        "kl_k1": mean_kl(rollout),
        "kl_k3": (kl_k3(rollout.logprobs, rollout.ref_logprobs) * mask).sum(1).mean(),
        "entropy": masked_mean(rollout.entropy, mask),
        "response_length": mask.sum(1).double().mean(),
        "ended_share": rollout.ended.double().mean(),
        "distinct_2": distinct_2(rollout.text),
        "repetition": repetition(rollout.responses),
        "steps": len(steps),
    }
    of_rollout |= {f"term_{name}": values.mean() for name, values in rollout.terms.items()}
    if rollout.values is not None and lesson.returns is not None:
        of_rollout["explained_variance"] = explained_variance(rollout.values, lesson.returns, mask)
    by_name = dict(zip(StepFigures._fields, zip(*steps, strict=True), strict=True))
    of_steps = {name: sum(values) / len(steps) for name, values in by_name.items() if values[0] is not None}
    return {name: finite(float(value)) for name, value in {**of_rollout, **of_steps}.items()}


def mean_kl(rollout: Rollout) -> Tensor:
    """Mean over responses () of the KL from the reference in nats per response, by estimator k1."""
    return (kl_k1(rollout.logprobs, rollout.ref_logprobs) * rollout.response_mask).sum(1).mean()


def _step(learner: Learner, rollout: Rollout, lesson: Lesson, config: PPOConfig, rows: list[int], *, only_value: bool) -> StepFigures:
    """One optimizer step of each model on a minibatch; gradients add up over its microbatches, and over processes that share it out."""
    accelerator, tokens = learner.accelerator, sum(len(rollout.responses[i]) for i in rows)
    own = own_share(by_length(rows, rollout.prompts, rollout.responses), accelerator)
    of_policy, of_value = [], []
    size = max(1, config.microbatch_size // accelerator.num_processes)
    most = sys.maxsize if config.shard else pass_tokens(rollout.logprobs.device)  # sharded: as many passes in each process
    for part in microbatches(own, rollout.prompts, rollout.responses, size, most):
        policy_part, value_part = _losses(learner, rollout, lesson, config, part, tokens, only_value=only_value)
        of_policy.append(policy_part)
        losses = [policy_part.loss]
        if value_part is not None:
            of_value.append(value_part)
            # Models that share no weights learn from two gradients in one pass; on a shared trunk the value's has its weight.
            losses.append(value_part.loss if learner.policy.head is None else config.vf_coef * value_part.loss)
        accelerator.backward(torch.stack(losses).sum())
    policy_loss_, clip_fraction, approx_kl, ratio = _sums(of_policy, len(PolicyLoss._fields), accelerator)
    figures = StepFigures(policy_loss_, clip_fraction, approx_kl, ratio, policy_grad_norm=learner.policy.step(accelerator))
    if lesson.returns is not None:
        value_loss_, value_clip_fraction = _sums(of_value, len(ValueLoss._fields), accelerator)
        figures = figures._replace(value_loss=value_loss_, value_clip_fraction=value_clip_fraction)
    return figures if learner.value is None else figures._replace(value_grad_norm=learner.value.step(accelerator))


def _corpus_loss(learner: Learner, mix: PretrainingMix, step: int, precision: Precision) -> float:
    """Add coef · the gradient of the mean loss per token on a step's texts of the corpus to the policy's; the loss."""
    batch = mix.batch(step)
    own, parts = own_share(batch, learner.accelerator), []
    if own:
        with computing_in(precision, learner.policy.model.device):
            loss = mix.loss(learner.policy.model, own, batch)
        learner.accelerator.backward(mix.config.coef * loss)
        parts.append([loss])
    return _sums(parts, 1, learner.accelerator)[0]


def _sums(parts: Sequence[Sequence[Tensor]], count: int, accelerator: Accelerator) -> list[float]:
    """So many figures of a minibatch, from those of its microbatches in all processes."""
    own = torch.stack([torch.stack([figure.detach() for figure in part]) for part in parts]).sum(0) if parts else torch.zeros(count)
    sums: list[float] = total(own, accelerator).tolist()
    return sums


def _losses(
    learner: Learner, rollout: Rollout, lesson: Lesson, config: PPOConfig, rows: list[int], tokens: int, *, only_value: bool = False
) -> tuple[PolicyLoss, ValueLoss | None]:
    """The losses of a microbatch, as parts of those of its minibatch of so many tokens; with `only_value` the policy has no gradient."""
    prompts, responses = [rollout.prompts[i] for i in rows], [rollout.responses[i] for i in rows]
    batch = response_batch(prompts, responses, learner.pad_id, rollout.logprobs.device)
    mask, width = batch.response_mask, batch.responses.shape[1]

    def own(whole: Tensor) -> Tensor:
        return whole[rows, :width]

    computing = partial(computing_in, config.precision, mask.device)
    with torch.set_grad_enabled(not only_value):
        with computing():
            said, hidden = read_responses(learner.policy.model, batch, config.sampling.temperature, logprobs_of)
        logprobs, advantages = said.masked_fill(~mask, 0.0), own(lesson.normalized_advantages)
        of_policy = policy_loss(logprobs, own(rollout.logprobs), advantages, mask, clip_range=config.clip_range, token_count=tokens)
        if lesson.kl_loss_coef:
            kl = kl_loss(logprobs, own(rollout.ref_logprobs), mask, token_count=tokens)
            of_policy = of_policy._replace(loss=of_policy.loss + lesson.kl_loss_coef * kl)
    if rollout.values is None or lesson.returns is None:
        return of_policy, None
    with computing():
        values = _values(learner, batch, hidden)
    old_values, returns = own(rollout.values), own(lesson.returns)
    return of_policy, value_loss(values, old_values, returns, mask, clip_range=config.value_clip_range, token_count=tokens)


def _values(learner: Learner, batch: ResponseBatch, hidden: Tensor) -> Tensor:
    """Values (B, T) by the value model, or by the head that reads the policy's hidden states."""
    if learner.value is not None:
        return response_values(learner.value.model, batch)
    if learner.policy.head is None:
        raise StageError("a rollout has values and nothing learns them", remedy="gather the rollout with the learner's own models")
    values: Tensor = learner.policy.head(hidden, batch.response_mask)
    return values

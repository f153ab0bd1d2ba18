"""What a policy's training stands on: its models, its rewards and its prompts, loaded and checked before anything is trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from models.job import Job
from models.language.generation import check_context
from models.language.prompts import EncodedPrompts, encode_prompts, load_prompts
from models.language.text import load_tokenizer, pad_token
from models.policy_configs import PPOConfig
from models.ppo.own_prompts import load_own_prompts
from models.ppo.ptx import PretrainingMix, load_mix
from models.ppo.rewards.terms import load_rewards
from models.ppo.rollout import Actors
from models.ppo.scoring import Scorer
from models.ppo.trainees.learner import Learner, new_learner
from models.ppo.trainees.policy_model import Policy, load_policy
from models.ppo.trainees.value_model import ValueHead, load_value_model
from models.precision import check_precision
from models.reward.reward_model import RewardModel, load_reward_model
from models.sharding import shard


@dataclass(frozen=True)
class Ground:
    """What a policy is trained on: everything that stays as it is."""

    actors: Actors
    """The policy and the value model in it are the learner's."""
    scorer: Scorer
    """Gives the scores that PPO raises."""
    judge: Scorer
    """Held out: chooses the best update, and is never trained on."""
    prompts: EncodedPrompts
    validation: EncodedPrompts | None
    """Prompts for choosing the best update; None keeps the last one."""
    mix: PretrainingMix | None = None
    """What is mixed into the updates of a corpus."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How much of files of one's own is there, and was left out."""


def set_up(job: Job[PPOConfig], accelerator: Accelerator) -> tuple[Policy, Learner, Ground]:
    """The models, where they are to be, and the prompts."""
    config, base = job.config, job.input("base_model", "model")
    device = torch.device("cpu") if config.shard else accelerator.device  # none has room for a whole model that is to be sharded
    tokenizer = load_tokenizer(base)
    check_precision(config.precision, accelerator.device, "policy.precision")

    def settle(*models: nn.Module | None) -> None:
        """Shard models as soon as they are loaded, so that few are whole at a time in the machine's memory."""
        for model in filter(None, models if config.shard else ()):
            shard(model, accelerator.device)

    policy = load_policy(config, base, device, job.input("start", "model") if "start" in job.inputs else base)
    settle(policy.model, policy.reference if policy.adapters is None else None)
    value = _value_of(job, policy, device)
    settle(value)
    rewards = load_rewards(config, _reward_model_of(job), device)
    settle(rewards.model)
    judge = load_reward_model(job.input("judge", "model"), device)
    settle(judge)
    learner = new_learner(policy.model, value, config, accelerator, pad_token(tokenizer))
    longest, path = config.sampling.max_prompt_tokens, job.input("prompts", "prompts.parquet")
    validation = load_prompts(path, "validation", config.validation_prompts) if config.validation_prompts else None
    train, own = load_prompts(path, "train"), load_own_prompts(job, tokenizer)
    mix = load_mix(job, tokenizer)
    ground = Ground(
        actors=Actors(policy.model, policy.reference, value, tokenizer, config.precision),
        scorer=rewards,
        judge=judge.score,
        prompts=encode_prompts(tokenizer, [*train, *own.prompts], longest),
        validation=encode_prompts(tokenizer, validation, longest) if validation else None,
        mix=mix,
        counts={**own.counts, **({} if mix is None else {"ptx_texts": len(mix.texts), "ptx_texts_held_out": mix.left_out})},
    )
    for model in (policy.model, *([value.backbone] if isinstance(value, RewardModel) else [])):
        check_context(model, ground.prompts.ids, config.sampling)  # an error now, and not when the longest prompt's turn comes
    return policy, learner, ground


def _value_of(job: Job[PPOConfig], policy: Policy, device: torch.device) -> RewardModel | ValueHead | None:
    """What forecasts values, where the method has any."""
    if job.config.method != "ppo":
        return None
    if job.config.value == "shared":
        return ValueHead(policy.model).to(device)
    base = job.input("base_model", "model")
    return load_value_model(job.config, _reward_model_of(job), base, load_tokenizer(base), device)


def _reward_model_of(job: Job[PPOConfig]) -> Path:
    """Where the reward model stands; nowhere where the job needs none."""
    return job.input("reward_model", "model") if job.config.needs_reward_model else Path()

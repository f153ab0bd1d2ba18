"""What a policy's training stands on: its models, its rewards and its prompts, loaded and checked before anything is trained."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator

from models.job import Job
from models.language.generation import check_context
from models.language.prompts import EncodedPrompts, encode_prompts, load_prompts
from models.language.text import load_tokenizer, pad_token
from models.policy_configs import PPOConfig
from models.ppo.learner import Learner, new_learner
from models.ppo.policy_model import Policy, load_policy
from models.ppo.rewards.terms import load_rewards
from models.ppo.rollout import Actors
from models.ppo.scoring import Scorer
from models.ppo.value_model import ValueHead, load_value_model
from models.reward.reward_model import RewardModel, load_reward_model


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


def set_up(job: Job[PPOConfig], accelerator: Accelerator) -> tuple[Policy, Learner, Ground]:
    """The models, where they are to be, and the prompts."""
    config, base, reward, device = job.config, job.input("base_model", "model"), job.input("reward_model", "model"), accelerator.device
    tokenizer = load_tokenizer(base)
    policy = load_policy(config, base, device)
    value = _value_of(job, policy, device)
    learner = new_learner(policy.model, value, config, accelerator, pad_token(tokenizer))
    longest, path = config.sampling.max_prompt_tokens, job.input("prompts", "prompts.parquet")
    validation = load_prompts(path, "validation", config.validation_prompts) if config.validation_prompts else None
    ground = Ground(
        actors=Actors(policy.model, policy.reference, value, tokenizer),
        scorer=load_rewards(config, reward, device),
        judge=load_reward_model(job.input("judge", "model"), device).score,
        prompts=encode_prompts(tokenizer, load_prompts(path, "train"), longest),
        validation=encode_prompts(tokenizer, validation, longest) if validation else None,
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
    return load_value_model(job.config, job.input("reward_model", "model"), base, load_tokenizer(base), device)

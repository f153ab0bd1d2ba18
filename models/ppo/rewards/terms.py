"""The sum of terms that a policy is rewarded by, as one scorer: Σ weight · (the term's score, limited by its clip)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from data_contracts.texts import Message
from models.own_functions import load_function, score_by
from models.policy_configs import PPOConfig
from models.ppo.ppo_math import clipped
from models.ppo.rewards.rules import rule_of
from models.ppo.scoring import Scorer, score_responses
from models.reward.ensemble import Scored
from models.reward.reward_model import load_reward_model
from models.reward_terms import FunctionTerm, RewardModelTerm, RewardTerm


class Term(NamedTuple):
    """One term of the reward."""

    config: RewardTerm
    scorer: Scorer
    title: str
    """What the term is called in an error."""


class Rewards:
    """The terms together: a scorer whose `terms` add up to its score."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = terms

    @property
    def model(self) -> nn.Module | None:
        """The reward model, where a term is one."""
        return next((getattr(term.scorer, "__self__", None) for term in self.terms if isinstance(term.config, RewardModelTerm)), None)

    def __call__(self, prompts: Sequence[Sequence[Message]], responses: Sequence[str]) -> Scored:
        """Score and disagreement of B responses with every term's part of the score, each (B,)."""
        parts, disagreement = {}, torch.zeros(len(responses))
        for config, scorer, title in self.terms:
            scored = score_responses(scorer, prompts, responses, name=title)
            parts[config.label] = config.weight * clipped(scored.score, config.clip)
            disagreement = disagreement + abs(config.weight) * scored.disagreement
        return Scored(torch.stack(list(parts.values())).sum(0), disagreement, parts)


def load_rewards(config: PPOConfig, reward_model: Path, device: torch.device) -> Rewards:
    """The terms of a recipe; the reward model is loaded where one of them asks for it."""
    return Rewards([_load(term, reward_model, device) for term in config.rewards])


def _load(config: RewardTerm, reward_model: Path, device: torch.device) -> Term:
    if isinstance(config, RewardModelTerm):
        return Term(config, load_reward_model(reward_model, device).score, "the reward model")
    if isinstance(config, FunctionTerm):
        title = f"the reward function {config.function}"
        function = load_function(config, title, "policy.rewards")
        return Term(config, lambda prompts, responses: certain(score_by(function, title, prompts, responses)), title)
    rule = rule_of(config)
    return Term(config, lambda _, responses: certain(torch.tensor([rule(text) for text in responses])), f"the rule {config.label}")


def certain(scores: torch.Tensor) -> Scored:
    """Scores that come from one source, which agrees with itself."""
    return Scored(scores, torch.zeros_like(scores))

"""Choosing among the states of a policy in training: the one that a held-out judge likes best, within the budget of KL."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor

from data_contracts.records import POLICY_SAMPLE
from models.language.language_model import LanguageModel
from models.language.prompts import EncodedPrompts
from models.policy_configs import DPOConfig, PPOConfig
from models.ppo.ppo_math import kl_k1
from models.ppo.rollout import Actors, Rollout, collect_rollout
from models.ppo.scoring import Scorer
from models.randomness import derive_seed
from models.sharding import share_of, whole


@dataclass
class Best:
    """The best state so far, with what a checkpoint has to keep of it."""

    at: int | None = None
    """When it was there: an update of PPO or a step of DPO; 0 is the start; None while none was judged."""
    judge_score: float = float("-inf")
    weights: dict[str, Tensor] = field(default_factory=dict)

    def consider(self, policy: LanguageModel, at: int, judge_score: float, *, kl_k1: float, budget: float) -> None:
        """Keep the policy's weights, those that learn, if the judge likes it better than any before and its KL is within the budget."""
        if kl_k1 > budget or judge_score <= self.judge_score:
            return
        self.at, self.judge_score = at, judge_score
        self.weights = {name: whole(weight.detach()).cpu().clone() for name, weight in policy.named_parameters() if weight.requires_grad}

    def give_to(self, policy: LanguageModel) -> None:
        """Give the policy the weights of the best state, where one was judged."""
        with torch.no_grad():
            for name, weight in policy.named_parameters():
                if name in self.weights:
                    weight.copy_(share_of(self.weights[name], weight))

    def state(self) -> dict[str, Any]:
        """All but the weights, as JSON values."""
        return {"at": self.at, "judge_score": self.judge_score}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave; the weights come with the checkpoint's tensors."""
        self.at, self.judge_score = state["at"], state["judge_score"]


def sample_rows(at: int, prompts: EncodedPrompts, rollout: Rollout, judge_scores: Tensor) -> list[dict[str, object]]:
    """Rows of the record `policy sample`, but for `kept`: what responses were worth to the judge (B,) and by every term of the reward."""
    kl = (kl_k1(rollout.logprobs, rollout.ref_logprobs) * rollout.response_mask).sum(1)
    columns = {
        "ended": rollout.ended,
        "score": rollout.scores,
        "disagreement": rollout.disagreement,
        "judge_score": judge_scores,
        "kl_k1": kl,
    }
    rows: list[dict[str, object]] = []
    for i, prompt in enumerate(prompts.prompts):
        terms = [{"term": name, "score": float(part[i])} for name, part in rollout.terms.items()]
        about = {"at": at, "prompt_id": prompt.prompt_id, "slice": prompt.slice, "prompt": list(prompt.messages)}
        response = {"response": rollout.text[i], "n_tokens": len(rollout.responses[i]), "terms": terms}
        rows.append(about | response | {name: column[i].item() for name, column in columns.items()})
    return rows


def write_samples(path: Path, rows: Sequence[Mapping[str, object]], best: Best) -> None:
    """Write the rows of `sample_rows` of every validation; none where there were no validation prompts."""
    if rows:
        pq.write_table(POLICY_SAMPLE.table([{**row, "kept": row["at"] == best.at} for row in rows]), path)


def sample_validation(
    actors: Actors, scorer: Scorer, prompts: EncodedPrompts, config: PPOConfig | DPOConfig, *, microbatch_size: int
) -> Rollout:
    """The policy's responses to the validation prompts, with the same random numbers every time."""
    seeds = [derive_seed(config.seed, "validation", prompt.prompt_id) for prompt in prompts.prompts]
    return collect_rollout(actors, scorer, prompts, config.sampling, seeds=seeds, microbatch_size=microbatch_size)

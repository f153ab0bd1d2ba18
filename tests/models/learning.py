"""Small jobs of the policy's training and evaluation, that their tests share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from accelerate import Accelerator

from data_contracts.records import PROMPT
from models.configs import EvaluationConfig, SamplingConfig
from models.job import Job
from models.language.language_model import ResponseBatch, read_responses
from models.language.prompts import Prompt, encode_prompts
from models.language.text import load_tokenizer, pad_token
from models.policy_configs import PPOConfig, SFTConfig
from models.ppo.ground import Ground
from models.ppo.rollout import Actors
from models.ppo.scoring import Scorer
from models.ppo.trainees.learner import Learner, new_learner
from models.ppo.trainees.policy_model import load_policy
from models.ppo.trainees.value_model import ValueHead, load_value_model
from models.progress import Progress
from models.reward.ensemble import Scored
from models.reward.reward_model import new_reward_model
from tests.models.conftest import sentences, user

SPLITS = ("train", "train", "train", "validation", "test")
SAMPLING = SamplingConfig(max_new_tokens=8)


def ppo_config(**changes: object) -> PPOConfig:
    small = {
        "updates": 3,
        "rollout_batch_size": 8,
        "minibatch_size": 4,
        "microbatch_size": 2,
        "validation_prompts": 4,
        "epochs": 2,
        "learning_rate": 2e-4,
        "value_learning_rate": 5e-4,
        "sampling": SAMPLING,
    }
    return PPOConfig.model_validate({**small, "value_from": "base_model", **changes})


def some_prompts(count: int) -> list[Prompt]:
    return [Prompt(f"prompt-{i:03d}", "ab"[i % 2], user(text)) for i, text in enumerate(sentences(count, seed=7))]


def ground_of(model: Path, config: PPOConfig, scorer: Scorer, *, prompts: int = 16, start: Path | None = None) -> tuple[Learner, Ground]:
    """A learner and all it learns from, with a function as reward model and as judge."""
    tokenizer, device = load_tokenizer(model), torch.device("cpu")
    torch.manual_seed(0)
    policy, value = load_policy(config, model, device, start or model), None
    if config.method == "ppo":
        value = ValueHead(policy.model) if config.value == "shared" else load_value_model(config, model, model, tokenizer, device)
    learner = new_learner(policy.model, value, config, Accelerator(cpu=True), pad_token(tokenizer))
    encoded = encode_prompts(tokenizer, some_prompts(prompts), config.sampling.max_prompt_tokens)
    actors = Actors(policy.model, policy.reference, value, tokenizer, config.precision)
    return learner, Ground(actors, scorer, scorer, encoded, encoded if config.validation_prompts else None)


def response_logits(model: Any, batch: ResponseBatch, temperature: float) -> torch.Tensor:
    """Logits (B, T, V) of every response token."""
    return read_responses(model, batch, temperature, lambda logits, _: logits)[0]


def agreed(scores: torch.Tensor) -> Scored:
    """Scores on which nobody disagrees."""
    return Scored(scores, torch.zeros_like(scores))


def length_score(_: Sequence[object], responses: Sequence[str]) -> Scored:
    """A score that nothing hides: how many characters the response has."""
    return agreed(torch.tensor([float(len(response)) for response in responses]))


def write_inputs(root: Path, model: Path, *, prompts: int = 20, splits: Sequence[str] = SPLITS) -> dict[str, Path]:
    """Input directories of a job: the model as base and policy, two random reward models, and prompts of every split."""
    for number, role in enumerate(("reward_model", "judge")):
        torch.manual_seed(number)
        new_reward_model(model, 64).save(root / role / "model")
    (root / "prompts").mkdir()
    rows: list[dict[str, object]] = [
        {"prompt_id": p.prompt_id, "split": splits[i % len(splits)], "slice": p.slice, "prompt": p.messages}
        for i, p in enumerate(some_prompts(prompts))
    ]
    pq.write_table(PROMPT.table(rows), root / "prompts" / "prompts.parquet")
    return {"base_model": model.parent, **{role: root / role for role in ("reward_model", "judge", "prompts")}}


def make_job(root: Path, config: PPOConfig | SFTConfig | EvaluationConfig, inputs: dict[str, Path]) -> Job:  # type: ignore[type-arg]
    for name in ("output", "work"):
        (root / name).mkdir(parents=True)
    return Job(config, inputs, root / "output", root / "work", Progress(root / "progress.jsonl"))

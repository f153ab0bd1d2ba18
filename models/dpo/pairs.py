"""Preferences as a policy reads them: one split of `preferences.parquet`, as the policy's tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from data_contracts.errors import InputError, RecipeError
from models.batching import token_batches
from models.dpo.dpo_math import PairLogprobs
from models.language.language_model import LanguageModel, context_length, response_batch, response_logprobs
from models.language.text import Tokenizer, encode_prompt, encode_response, end_token
from models.policy_configs import DPOConfig
from models.precision import computing_in
from models.reward.preference_data import read_preferences

EVEN = 0.5
"""Probability of a comparison that nobody won; no label can be harder."""


class Pair(NamedTuple):
    """Two responses to a prompt, as tokens."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    probability: float
    """That an annotator prefers `chosen`, from 0.5 to 1."""
    weight: float
    is_cut: bool
    """Whether the prompt lost its beginning or a response its end."""

    @property
    def length(self) -> int:
        """Tokens of the longer of the two sequences."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


def load_pairs(path: Path, split: str, tokenizer: Tokenizer, config: DPOConfig) -> list[Pair]:
    """The pairs of a split that count, ordered by comparison id.

    Raises:
        InputError: the split has none.
    """
    rows = [row for row in read_preferences(path) if row["split"] == split and row["weight"] > 0]
    if not rows:
        raise InputError(
            f"the split {split!r} has no preferences",
            where=str(path),
            remedy="raise this split's fraction in the recipe, or bring judgments of more prompts",
        )
    return [_encode(row, tokenizer, config) for row in rows]


def _encode(row: Mapping[str, Any], tokenizer: Tokenizer, config: DPOConfig) -> Pair:
    prompt = encode_prompt(tokenizer, row["prompt"], config.sampling.max_prompt_tokens)
    eos_id, longest = end_token(tokenizer, config.sampling.eos_token_id), config.max_response_tokens
    chosen, rejected = (encode_response(tokenizer, row[side], eos_id) for side in ("chosen", "rejected"))
    probability = row["probability"]
    if config.labels == "hard" and probability > EVEN:
        probability = 1.0
    is_cut = prompt.cut or max(len(chosen), len(rejected)) > longest
    return Pair(prompt.ids, chosen[:longest], rejected[:longest], probability, row["weight"], is_cut)


def check_context(pairs: Sequence[Pair], model: LanguageModel) -> None:
    """Raise a `RecipeError` where a pair is longer than what the model is made for."""
    longest, context = max(pair.length for pair in pairs), context_length(model.config)
    if context is not None and longest > context:
        raise RecipeError(
            f"a prompt with its response has {longest} tokens, more than the model's {context}",
            remedy="lower policy.sampling.max_prompt_tokens or policy.max_response_tokens in the recipe",
        )


def pair_logprobs(model: LanguageModel, pairs: Sequence[Pair], pad_id: int, config: DPOConfig) -> PairLogprobs:
    """Log-probabilities (B,) of both responses of every pair, in one forward pass, with gradients."""
    prompts = [pair.prompt for pair in pairs]
    responses = [*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)]
    batch = response_batch([*prompts, *prompts], responses, pad_id, model.device)
    with computing_in(config.precision, model.device):
        logprobs = response_logprobs(model, batch, config.sampling.temperature)
    return PairLogprobs(*logprobs.sum(1).chunk(2))


@torch.no_grad()
def all_logprobs(model: LanguageModel, pairs: Sequence[Pair], pad_id: int, config: DPOConfig) -> PairLogprobs:
    """The same of any number of pairs, on the model's device, without gradients, in batches of similar length."""
    found = torch.zeros(2, len(pairs), device=model.device)
    for rows in microbatches(pairs, config.microbatch_tokens):
        found[:, rows] = torch.stack(pair_logprobs(model, [pairs[i] for i in rows], pad_id, config))
    return PairLogprobs(*found)


def microbatches(pairs: Sequence[Pair], microbatch_tokens: int) -> list[list[int]]:
    """Rows in batches of similar length and at most so many padded tokens, both responses counted."""
    return token_batches([pair.length for pair in pairs], microbatch_tokens, [2] * len(pairs))

"""Sampling responses from any causal language model of the transformers library, in batches with a key-value cache.

Each prompt has its own random numbers, so a response depends on its prompt and seed alone and not on what else is in the
batch. Nothing but the temperature changes the distribution, so the logprobs are those of the sampled policy. Responses that
ended leave the batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from data_contracts.errors import RecipeError
from models.configs import SamplingConfig
from models.language.decoding import Decoding
from models.language.language_model import LanguageModel, context_length, logprobs_of
from models.language.llama.captured import CapturedDecoding
from models.language.llama.decoding import LlamaDecoding
from models.language.llama.weights import FusedLlama
from models.language.text import pad_left
from models.progress import Progress
from models.randomness import uniforms


class Generation(NamedTuple):
    """One sampled response."""

    ids: list[int]
    """Its tokens, the end token included when it ended."""
    logprobs: list[float]
    """Log-probability of each token at the sampling temperature."""
    ended: bool
    """Whether it ended by itself within the length limit."""


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    *,
    seeds: Sequence[int],
    eos_id: int,
    pad_id: int,
    progress: Progress | None = None,
) -> list[Generation]:
    """One response to each prompt, in the prompts' order.

    Args:
        prompts: tokens of each prompt, none empty.
        seeds: a seed per prompt, such as `derive_seed(seed, "rollout", update, prompt_id)`; equal seeds repeat a response.
        eos_id: the token that ends a response; it may stand in prompts, where it means nothing.

    Raises:
        RecipeError: a prompt with its response would not fit into the model's context.
    """
    check_context(model, prompts, sampling)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        llama = FusedLlama.of(model, with_adapters=True)
    fast = CapturedDecoding if model.device.type == "cuda" else LlamaDecoding
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: dict[int, Generation] = {}
    for start in range(0, len(order), sampling.batch_size):
        rows = order[start : start + sampling.batch_size]
        padded = pad_left([prompts[i] for i in rows], pad_id, model.device)
        room = sampling.max_new_tokens
        decoding = fast(llama, model.lm_head.weight, padded, room) if llama else Decoding(model, padded, room)
        batch = _generate_batch(decoding, sampling, [seeds[i] for i in rows], eos_id)
        found.update(zip(rows, batch, strict=True))
        if progress is not None:
            progress.report(len(found), len(prompts))
    model.train(was_training)
    return [found[i] for i in range(len(prompts))]


def sample_tokens(logits: Tensor, chances: Tensor) -> Tensor:
    """One token per row from softmax(logits), (B, V) to (B,), by inverting the cumulative distribution at `chances` in [0, 1)."""
    cumulative = logits.softmax(-1).double().cumsum(-1)
    drawn = torch.searchsorted(cumulative, (chances * cumulative[:, -1])[:, None], right=True)
    return drawn.squeeze(-1).clamp(max=logits.shape[-1] - 1)


@torch.inference_mode()
def _generate_batch(decoding: Decoding | LlamaDecoding, sampling: SamplingConfig, seeds: Sequence[int], eos_id: int) -> list[Generation]:
    """One batch, sampled token by token; `rows` are the places in the batch of the responses that still go on."""
    steps, logits = sampling.max_new_tokens, decoding.start()
    batch, device = len(seeds), logits.device
    chances = torch.from_numpy(uniforms(seeds, steps)).to(device)
    responses = torch.full((batch, steps), eos_id, device=device)
    logprobs = torch.zeros((batch, steps), device=device)
    lengths = torch.full((batch,), steps, device=device)
    rows = torch.arange(batch, device=device)
    for step in range(steps):
        logits = logits / sampling.temperature
        tokens = sample_tokens(logits, chances[rows, step])
        responses[rows, step], logprobs[rows, step] = tokens, logprobs_of(logits, tokens)
        lengths[rows[tokens == eos_id]] = step + 1
        going = (tokens != eos_id).nonzero().squeeze(-1)
        if len(going) == 0 or step == steps - 1:
            break
        if len(going) < len(rows):
            rows, tokens = rows[going], tokens[going]
            decoding.keep(going)
        logits = decoding.advance(tokens)
    return [
        Generation(ids[:n], values[:n], ids[n - 1] == eos_id)
        for ids, values, n in zip(responses.tolist(), logprobs.tolist(), lengths.tolist(), strict=True)
    ]


def check_context(model: LanguageModel, prompts: Sequence[Sequence[int]], sampling: SamplingConfig) -> None:
    """Raise a `RecipeError` where a prompt with the longest response would not fit into the model's context."""
    longest, context = max(map(len, prompts), default=0), context_length(model.config)
    if context is not None and longest + sampling.max_new_tokens > context:
        raise RecipeError(
            f"a prompt of {longest} tokens with a response of up to {sampling.max_new_tokens} does not fit into the model's {context}",
            remedy="lower sampling.max_prompt_tokens or sampling.max_new_tokens in the recipe",
        )

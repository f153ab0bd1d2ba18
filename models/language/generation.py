"""Sampling responses from any causal language model of the transformers library, in batches with a key-value cache.

Each prompt has its own random numbers, so a response depends on its prompt and seed alone and not on what else is in the
batch. Nothing but the temperature changes the distribution, so the logprobs are those of the sampled policy. Responses that
ended leave the batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from data_contracts.errors import RecipeError
from models.configs import SamplingConfig
from models.language.language_model import LanguageModel, context_length, logprobs_of
from models.language.text import Padded, pad_left
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
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: dict[int, Generation] = {}
    for start in range(0, len(order), sampling.batch_size):
        rows = order[start : start + sampling.batch_size]
        batch = _generate_batch(model, [prompts[i] for i in rows], sampling, [seeds[i] for i in rows], eos_id, pad_id)
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
def _generate_batch(
    model: LanguageModel, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int], eos_id: int, pad_id: int
) -> list[Generation]:
    """One batch, sampled token by token; `rows` are the places in the batch of the responses that still go on."""
    device, steps = model.device, sampling.max_new_tokens
    chances = torch.from_numpy(uniforms(seeds, steps)).to(device)
    responses = torch.full((len(prompts), steps), eos_id, device=device)
    logprobs = torch.zeros((len(prompts), steps), device=device)
    lengths = torch.full((len(prompts),), steps, device=device)
    rows = torch.arange(len(prompts), device=device)
    decoding = _Decoding(model, pad_left(prompts, pad_id, device), room=steps)
    logits = decoding.start()
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


class _Decoding:
    """The model's state while a batch is sampled: the key-value cache, and what in it is padding."""

    def __init__(self, model: LanguageModel, prompts: Padded, room: int) -> None:
        self._model, self._prompts = model, prompts
        self._cache = DynamicCache(config=model.config)
        self._cache.layers = [_RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in self._cache.layers]
        self._mask = prompts.mask.long()
        self._positions = prompts.position_ids[:, -1:]
        self._is_padded = not bool(prompts.mask.all())

    def start(self) -> Tensor:
        """Logits (B, V) of the token after the prompts."""
        return self._forward(self._prompts.ids, self._prompts.position_ids)

    def advance(self, tokens: Tensor) -> Tensor:
        """Logits (B, V) of the token after these, (B,)."""
        self._positions = self._positions + 1
        self._mask = F.pad(self._mask, (0, 1), value=1)
        return self._forward(tokens[:, None], self._positions)

    def keep(self, rows: Tensor) -> None:
        """Let all rows but these leave the batch."""
        self._cache.batch_select_indices(rows)
        self._mask, self._positions = self._mask[rows], self._positions[rows]

    def _forward(self, ids: Tensor, position_ids: Tensor) -> Tensor:
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask if self._is_padded else None,
            position_ids=position_ids,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A layer of the cache with room for the response from the start; the library's copies everything at each token."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self._filled = 0
        self._all_keys, self._all_values = (
            states.new_empty((*states.shape[:2], states.shape[2] + self._room, states.shape[3])) for states in (key_states, value_states)
        )

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self._filled = self._filled, self._filled + key_states.shape[2]
        self._all_keys[:, :, start : self._filled] = key_states
        self._all_values[:, :, start : self._filled] = value_states
        self.keys, self.values = self._all_keys[:, :, : self._filled], self._all_values[:, :, : self._filled]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        self._all_keys, self._all_values = self._all_keys[indices], self._all_values[indices]


def check_context(model: LanguageModel, prompts: Sequence[Sequence[int]], sampling: SamplingConfig) -> None:
    """Raise a `RecipeError` where a prompt with the longest response would not fit into the model's context."""
    longest, context = max(map(len, prompts), default=0), context_length(model.config)
    if context is not None and longest + sampling.max_new_tokens > context:
        raise RecipeError(
            f"a prompt of {longest} tokens with a response of up to {sampling.max_new_tokens} does not fit into the model's {context}",
            remedy="lower sampling.max_prompt_tokens or sampling.max_new_tokens in the recipe",
        )

"""How much memory PPO will need, told before anything is trained, and quoted when there was not enough.

Weights, gradients and optimizers are counted. What a forward pass leaves for the backward one is estimated: of each layer and token
about 10 numbers per unit of the width and 4 per unit of the feed-forward layer (norms, projections, attention and gate of a Llama
without an attention matrix), and of each response token about 4 per entry of the vocabulary (logits, the same by the temperature, and
the gradients of both), of plain Llamas for no more logits than stand in memory at once. Weights, gradients, optimizers and logits are
float32, and the rest is of the policy's precision. Of sharded models a process holds a share, and the whole of one at a time.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psutil
import torch
from torch import nn

from data_contracts.errors import StageError, is_out_of_memory
from models.configs import Precision
from models.jobs import JOBS
from models.language.language_model import LOGITS_AT_ONCE, count_parameters
from models.language.llama.weights import is_plain_llama
from models.policy_configs import PPOConfig
from models.ppo.ground import Ground
from models.ppo.rollout import pass_tokens
from models.ppo.scoring import module_behind
from models.ppo.trainees.learner import Learner
from models.reward.reward_model import RewardModel
from models.sharding import held
from models.sizes import readable

FLOAT = 4
"""Bytes of a number."""
BYTES: dict[Precision, int] = {"float32": FLOAT, "bfloat16": 2}
"""Bytes of a number that a forward pass computes, but for logits."""
ADAM = 2
"""Numbers that the optimizer keeps of each one that learns."""
BEHIND_NORMS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
"""What of a Llama's layer reads a norm."""
PER_WIDTH, PER_FEED_FORWARD, PER_WORD = 10, 4, 4
"""See above."""


class Estimate(NamedTuple):
    """Bytes by what they are for, in one process."""

    weights: dict[str, int]
    """Of each model."""
    gradients: int
    optimizers: int
    best: int
    """The best update's weights, in the machine's memory and not the GPU's."""
    activations: int
    """Of one microbatch, between its forward and its backward pass."""
    cache: int
    """Keys and values of the responses that are sampled together; not there while anything is learned."""
    copies: int = 0
    """Of plain Llamas' weights, as their fast paths lay them out to sample and to read, and what the derivatives of that need."""
    gathered: int = 0
    """The largest of sharded models, as a whole, while it samples or scores; not there while anything is learned."""

    def total(self, device: torch.device) -> int:
        """The most that is held at one time on a device."""
        always = sum(self.weights.values()) + self.gradients + self.optimizers + self.copies
        most = always + max(self.activations, self.cache + self.gathered)
        return most if device.type == "cuda" else most + self.best

    def text(self, device: torch.device) -> str:
        """A line for the log."""
        parts = self.weights | {name: value for name, value in self._asdict().items() if name != "weights"}
        told = ", ".join(f"{name} {readable(size)}" for name, size in parts.items() if size)
        return f"memory: about {readable(self.total(device))} of {readable(_there_is(device))} on {device.type} ({told})"


def estimate(learner: Learner, ground: Ground, config: PPOConfig) -> Estimate:
    """What training these models on these prompts will hold."""
    learns = sum(_held(p for p in trainee.parameters if p.requires_grad) for trainee in learner.trainees.values())
    rows = max(1, config.microbatch_size // config.processes)
    longest = max(map(len, ground.prompts.ids)) + config.sampling.max_new_tokens
    policy, value, models = ground.actors.policy, ground.actors.value, _models(ground)
    if not config.shard:
        rows = min(rows, max(1, pass_tokens(policy.device) // longest))
    activations = rows * bytes_of_pass(policy.config, longest, config.precision)
    activations += bytes_of_logits(policy.config, rows * config.sampling.max_new_tokens, at_once=is_plain_llama(policy))
    if isinstance(value, RewardModel):
        activations += rows * bytes_of_pass(value.backbone.config, longest, config.precision)
    sampled = min(config.sampling.batch_size, -(-config.rollout_batch_size // config.processes))
    readers = [policy, value.backbone] if isinstance(value, RewardModel) else [policy]
    return Estimate(
        weights={name: FLOAT * _held(model.parameters()) for name, model in models.items()},
        gradients=FLOAT * learns,
        optimizers=ADAM * FLOAT * learns,
        best=FLOAT * sum(p.numel() for p in policy.parameters() if p.requires_grad) if ground.validation else 0,
        activations=activations,
        cache=sampled * bytes_of_cache(policy.config, longest, config.precision),
        copies=sum(_bytes_laid_out(model, config.precision) for model in readers),
        gathered=FLOAT * max(count_parameters(model) for model in models.values()) if config.shard else 0,
    )


@contextmanager
def quoted_when_short(found: Estimate, device: torch.device) -> Iterator[None]:
    """Make one error of memory that runs out, with the estimate and what to lower.

    Raises:
        StageError: there was not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise StageError(
            f"out of memory: {str(error).splitlines()[0]}\n  {found.text(device)}\n", remedy=JOBS["train_policy"].less_memory
        ) from error


def _models(ground: Ground) -> dict[str, nn.Module]:
    """Every model that is held, once, by name."""
    named: dict[str, Any] = {"policy": ground.actors.policy, "reference": ground.actors.reference, "value": ground.actors.value}
    named |= {"reward_model": ground.scorer, "judge": ground.judge}
    behind = {name: module_behind(model) for name, model in named.items()}
    return {name: model for name, model in behind.items() if model is not None}


def _bytes_laid_out(model: Any, precision: Precision) -> int:
    """Bytes of what a fast path copies of a model: all matrices, and in float32 those that norms are multiplied into while they learn."""
    if not is_plain_llama(model, with_adapters=True):
        return 0
    layers = getattr(model, "model", model).layers
    behind_norms = sum(weight.numel() for name, weight in layers.named_parameters() if name.split(".")[-2] in BEHIND_NORMS)
    learning = behind_norms if is_plain_llama(model) else 0
    return BYTES[precision] * count_parameters(layers) + FLOAT * learning


def _held(parameters: Iterable[nn.Parameter]) -> int:
    return sum({id(parameter): held(parameter) for parameter in parameters}.values())


def bytes_of_pass(config: Any, tokens: int, precision: Precision) -> int:
    """Bytes that a pass over one sequence leaves for its backward pass, without logits."""
    feed_forward = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    hidden: int = tokens * config.num_hidden_layers * (PER_WIDTH * config.hidden_size + PER_FEED_FORWARD * feed_forward)
    return BYTES[precision] * hidden


def bytes_of_logits(config: Any, response_tokens: int, *, at_once: bool) -> int:
    """Bytes of the logits over response tokens with what they leave for the backward pass; `at_once` where there are so many at a time."""
    logits: int = response_tokens * config.vocab_size
    return FLOAT * PER_WORD * (min(logits, LOGITS_AT_ONCE) if at_once else logits)


def bytes_of_cache(config: Any, tokens: int, precision: Precision) -> int:
    """Bytes of the keys and values of one sequence."""
    heads = config.num_attention_heads
    kv_heads, size = getattr(config, "num_key_value_heads", None) or heads, getattr(config, "head_dim", None) or config.hidden_size // heads
    numbers: int = 2 * tokens * config.num_hidden_layers * kv_heads * size
    return BYTES[precision] * numbers


def _there_is(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else psutil.virtual_memory().total)

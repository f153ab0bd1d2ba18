"""What a night needs at a size that was not tried: the data stages by measured rates, the learning stages by counted work and memory.

    python benchmarks/scale.py [--judgments 10000000] [--shape 7b] [--peak 67e12] [--share 0.4] …

Prints what docs/scale.md quotes. Every assumption is an option and is printed. Memory is that of PPO's own estimate
(`models.ppo.memory`), from the shape alone: no weight is made. Work is 2 operations per weight and token forward, 4 backward.
"""

import argparse
from collections.abc import Mapping
from typing import NamedTuple

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from models.policy_configs import PPOConfig
from models.ppo.memory import ADAM, BYTES, FLOAT, Estimate, bytes_of_cache, bytes_of_logits, bytes_of_pass
from models.sizes import GIB

SHAPES: Mapping[str, Mapping[str, int]] = {
    "135m": {"hidden_size": 576, "intermediate_size": 1536, "layers": 30, "heads": 9, "kv_heads": 3, "vocab": 49152},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "layers": 16, "heads": 32, "kv_heads": 8, "vocab": 128256},
    "7b": {"hidden_size": 4096, "intermediate_size": 11008, "layers": 32, "heads": 32, "kv_heads": 32, "vocab": 32000},
}
FORWARD, BACKWARD = 2, 4
"""Operations per weight and token."""


class Rate(NamedTuple):
    """What was measured of a data stage (docs/decisions.md); two cores."""

    stage: str
    seconds: float
    per: float
    of: str
    memory: str


MEASURED = (
    Rate("ingest, contracts and the search for private data", 112, 10e6, "judgments", "1.7 GB"),
    Rate("contract checks of the snapshot", 31, 10e6, "judgments", "1.4 GB"),
    Rate("near-duplicate prompts", 116, 1e6, "prompts", "1.2 GB"),
    Rate("quality of feedback", 42.7, 10e6, "judgments", "3.4 GB"),
    Rate("aggregation by Dawid and Skene's model", 8.9, 10e6, "judgments", "not measured"),
)


def main() -> None:
    options = _options()
    told = ((name, value if isinstance(value, str) else f"{value:g}") for name, value in vars(options).items())
    print("assumed: " + ", ".join(f"{name} {value}" for name, value in told))
    _print_data(options)
    model = config_of(options.shape)
    weights = count_weights(model)
    print(f"\n{options.shape}: {weights / 1e9:.2f} billion weights\n")
    _print_memory(model, weights, options)
    _print_work(weights, options)


def config_of(shape: str) -> LlamaConfig:
    """The configuration of a Llama of this shape."""
    size = SHAPES[shape]
    return LlamaConfig(
        hidden_size=size["hidden_size"], intermediate_size=size["intermediate_size"], num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"], num_key_value_heads=size["kv_heads"], vocab_size=size["vocab"],
    )  # fmt: skip


def count_weights(config: LlamaConfig) -> int:
    """How many numbers such a model has, without making them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in LlamaForCausalLM(config).parameters())


def memory_of(config: LlamaConfig, weights: int, ppo: PPOConfig, tokens: int) -> Estimate:
    """What PPO holds in each process, as its own estimate counts it: all models of one shape, LoRA's own matrices left out."""
    whole, weights = weights, weights // ppo.processes if ppo.shard else weights
    frozen = ("reward_model", "judge") if ppo.lora else ("reference", "reward_model", "judge")
    learning = ("policy",) if ppo.value == "shared" else ("policy", "value")
    learns = 0 if ppo.lora else weights * len(learning)
    rows = max(1, ppo.microbatch_size // ppo.processes)
    passes = bytes_of_pass(config, tokens, ppo.precision) * len(learning)
    return Estimate(
        weights=dict.fromkeys((*learning, *frozen), FLOAT * weights),
        gradients=FLOAT * learns,
        optimizers=ADAM * FLOAT * learns,
        best=FLOAT * whole if learns else 0,
        activations=rows * passes + bytes_of_logits(config, rows * ppo.sampling.max_new_tokens, at_once=not ppo.lora),
        cache=min(ppo.sampling.batch_size, -(-ppo.rollout_batch_size // ppo.processes)) * bytes_of_cache(config, tokens, ppo.precision),
        copies=0 if ppo.shard else (BYTES[ppo.precision] * weights + (0 if ppo.lora else FLOAT * _behind_norms(config))) * len(learning),
        gathered=FLOAT * whole if ppo.shard else 0,
    )


def _behind_norms(config: LlamaConfig) -> int:
    """How many weights read a norm: queries, keys and values, gate and up."""
    heads = config.num_attention_heads + 2 * config.num_key_value_heads
    numbers: int = config.num_hidden_layers * config.hidden_size * (heads * config.head_dim + 2 * config.intermediate_size)
    return numbers


def _print_data(options: argparse.Namespace) -> None:
    amounts = {"judgments": options.judgments, "prompts": options.judgments / options.per_comparison / options.per_prompt}
    print("\n| stage | of | minutes | memory at the measured size |\n|---|---|---|---|")
    for rate in MEASURED:
        amount = amounts[rate.of]
        print(
            f"| {rate.stage} | {amount:,.0f} {rate.of} | {rate.seconds * amount / rate.per / 60:.1f} | {rate.memory} at {rate.per:,.0f} |"
        )


def _print_memory(model: LlamaConfig, weights: int, options: argparse.Namespace) -> None:
    tokens = options.prompt_tokens + options.response_tokens
    sampling = {"max_new_tokens": options.response_tokens, "batch_size": 64}
    settings: dict[str, dict[str, object]] = {
        "the default: every model whole, microbatch 1": {"microbatch_size": 1},
        "[policy.lora], value = 'shared', microbatch 1": {"microbatch_size": 1, "lora": {}, "value": "shared"},
        "the same in bfloat16": {"microbatch_size": 1, "lora": {}, "value": "shared", "precision": "bfloat16"},
        **{f"shard, {n} processes, microbatch {n}": {"microbatch_size": n, "processes": n, "shard": True} for n in (4, 8)},
    }
    print("| PPO, each process | weights | gradients, Adam | activations | cache | copies, a whole model | in all |\n" + "|---" * 7 + "|")
    for name, changes in settings.items():
        found = memory_of(model, weights, PPOConfig.model_validate({"sampling": sampling, **changes}), tokens)
        parts = (
            sum(found.weights.values()),
            found.gradients + found.optimizers,
            found.activations,
            found.cache,
            found.copies + found.gathered,
        )
        sizes = (*parts, found.total(torch.device("cuda")))
        print(f"| {name} | {' | '.join(f'{size / GIB:.0f} GiB' for size in sizes)} |")


def _print_work(weights: int, options: argparse.Namespace) -> None:
    speed, tokens = options.peak * options.share, options.prompt_tokens + options.response_tokens
    pairs = options.judgments / options.per_comparison * options.train_share
    episodes = options.updates * options.rollout
    per_token = 4 * FORWARD + options.epochs * 2 * (FORWARD + BACKWARD)
    work = {
        "reward model, one epoch of all pairs": pairs * 2 * tokens * (FORWARD + BACKWARD),
        f"reward model, one epoch of {options.pairs:,.0f} pairs": options.pairs * 2 * tokens * (FORWARD + BACKWARD),
        f"PPO, {episodes:,.0f} episodes: scored by four models, learned by two": episodes * tokens * per_token,
    }
    print(f"\n| work | operations | hours of one GPU at {speed / 1e12:.0f} TFLOP/s |\n|---|---|---|")
    for name, per_weight in work.items():
        print(f"| {name} | {per_weight * weights:.1e} | {per_weight * weights / speed / 3600:,.1f} |")
    steps = options.updates * options.response_tokens * -(-options.rollout // 64)
    hours = steps * FLOAT * weights / options.bandwidth / 3600
    print(f"| sampling: {steps:,} steps of 64 rows, each reads all weights once | | {hours:,.1f} |")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="7b", help="shape of all models")
    for name, default, what in (
        ("judgments", 10e6, "judgments in the lake"),
        ("per-comparison", 3.0, "judgments of a comparison"),
        ("per-prompt", 4.0, "comparisons of a prompt"),
        ("train-share", 0.55, "share of the comparisons that the reward model learns from"),
        ("pairs", 100e3, "pairs of a reward model that learns from a part of them"),
        ("peak", 67e12, "operations per second that a GPU can do at most (float32 without tensor cores of an H100)"),
        ("share", 0.4, "share of it that is reached"),
        ("bandwidth", 2e12, "bytes per second that a GPU reads weights at"),
        ("prompt-tokens", 256, "tokens of a prompt"),
        ("response-tokens", 256, "tokens of a response"),
        ("updates", 100, "PPO updates"),
        ("rollout", 512, "episodes of an update"),
        ("epochs", 4, "passes over a rollout"),
    ):
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{what} (default %(default)g)")
    return parser.parse_args()


if __name__ == "__main__":
    main()

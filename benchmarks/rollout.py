"""Tokens per second of sampling: ours against transformers' `generate`, taking turns in one run.

    python benchmarks/rollout.py [--sizes small medium] [--batch 32] [--prompt 32] [--new 32] [--repeats 3] [--precision bfloat16]

Llama models with random weights, pure sampling, and no end token, so that every response has the same length. The floor is the matrix
multiplications of the decoding steps alone. Seconds of CPU stand beside seconds of wall, for machines that do other work too. A GPU is
taken where there is one; there transformers compiles the step of its static cache, before it is timed. In bfloat16 ours copies the
weights from float32 at each call, as a policy that learns wants it, and transformers has a model of bfloat16.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from models.configs import Precision, SamplingConfig
from models.language.generation import generate
from models.language.language_model import count_parameters
from models.language.llama.weights import FusedLlama
from models.precision import computing_in

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = {
    "small": {"hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 1024},
    "medium": {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 7, "num_attention_heads": 8, "vocab_size": 4096},
    "smollm2": {
        **{"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9},
        **{"num_key_value_heads": 3, "vocab_size": 49152},
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small", "medium"])
    for name, value in (("batch", 32), ("prompt", 32), ("new", 32), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}, torch {torch.__version__}, transformers {transformers.__version__}, {options.precision}", end="", flush=True)
    print(f", {options.batch} prompts of {options.prompt} tokens, {options.new} new tokens each, medians of {options.repeats}", flush=True)
    print("| model | way | tokens per CPU second | tokens per wall second |\n|---|---|---|---|", flush=True)
    for size in options.sizes:
        torch.manual_seed(0)
        config = LlamaConfig(**SIZES[size], tie_word_embeddings=True, max_position_embeddings=512, bos_token_id=None, eos_token_id=None)
        model = LlamaForCausalLM(config).eval().to(DEVICE)
        prompts = torch.randint(config.vocab_size, (options.batch, options.prompt))
        seconds = take_turns(ways(model, prompts, options.new, options.precision), options.repeats)
        for way, runs in seconds.items():
            cpu, wall = (options.batch * options.new / statistics.median(column) for column in zip(*runs, strict=True))
            print(f"| {count_parameters(model) / 1e6:.1f} M | {way} | {cpu:,.0f} | {wall:,.0f} |", flush=True)


def ways(model: LlamaForCausalLM, prompts: torch.Tensor, new: int, precision: Precision) -> dict[str, Callable[[], object]]:
    theirs = copy.deepcopy(model).to(torch.bfloat16) if precision == "bfloat16" else model
    sampling, seeds = SamplingConfig(max_new_tokens=new, batch_size=len(prompts)), list(range(len(prompts)))
    pure = {
        "attention_mask": torch.ones_like(prompts).to(DEVICE),
        "do_sample": True,
        "top_k": 0,
        "top_p": 1.0,
        "max_new_tokens": new,
        "pad_token_id": 0,
    }
    return {
        "ours": lambda: sample(model, prompts.tolist(), sampling, seeds, precision),
        "transformers, default": lambda: theirs.generate(prompts.to(DEVICE), **pure),
        "transformers, static cache": lambda: theirs.generate(prompts.to(DEVICE), **pure, cache_implementation="static"),
        "floor: matrix multiplications": lambda: multiply(model, len(prompts), new, precision),
    }


def sample(model: LlamaForCausalLM, prompts: list[list[int]], sampling: SamplingConfig, seeds: list[int], precision: Precision) -> None:
    with computing_in(precision, model.device):
        generate(model, prompts, sampling, seeds=seeds, eos_id=-1, pad_id=0)


@torch.inference_mode()
def multiply(model: LlamaForCausalLM, rows: int, steps: int, precision: Precision) -> None:
    """The decoding steps' multiplications by weights, and nothing else."""
    with computing_in(precision, model.device):
        fused = FusedLlama.of(model)
    assert fused is not None
    dtype = fused.layers[0].down.dtype
    weights = [w for layer in fused.layers for w in layer] + [model.lm_head.weight.to(dtype)]
    inputs = [torch.randn(rows, weight.shape[1], device=DEVICE, dtype=dtype) for weight in weights]
    for _ in range(steps):
        for states, weight in zip(inputs, weights, strict=True):
            F.linear(states, weight)


def take_turns(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[tuple[float, float]]]:
    """(CPU, wall) seconds of every call, `repeats` times in turn, after one turn that is not counted."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return seconds


if __name__ == "__main__":
    main()

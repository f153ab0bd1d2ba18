"""How fast a reward model is trained, beside TRL's RewardTrainer: the same pairs, model, batch and learning rate, in turns.

    python benchmarks/reward_model.py --set-up ENV                        once: an environment with TRL beside this one's libraries
    python benchmarks/reward_model.py --trl ENV [--repeats 3] [--shapes small medium]

Every run is a process of its own with as many threads as OMP_NUM_THREADS says. Its time goes from the first step to the last, with
one evaluation on the held-out pairs, without imports and loading. Pairs are drawn: lengths are log-normal, and one response
has more of the tokens that are taken to be good; so a model that learns has an accuracy to reach.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TRL, SIDES = "trl==1.12.0", ("ours", "trl")
BATCH, LONGEST, HELD_OUT = 16, 256, 128
"""Pairs per optimizer step; tokens of a prompt with a response, at most; held-out pairs."""
END, PAD, FIRST = 1, 0, 2
"""Token ids: the end, padding, and the first word."""
MARKED = 16
"""Words that are good, and as many that are bad; they come first."""


class Shape(NamedTuple):
    """A Llama with random weights, and how long it is trained."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    words: int
    pairs: int
    learning_rate: float
    trl_microbatch: int
    """Pairs in one of TRL's forward passes: TRL's default."""


SHAPES = {
    "small": Shape(128, 4, 4, 384, 2048, 384, 2e-3, 8),
    "medium": Shape(512, 6, 8, 1536, 8192, 32, 5e-4, 8),
}


class Pair(NamedTuple):
    """Token ids of one prompt with two responses, the preferred one first."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set-up", type=Path, metavar="ENV", help="make the environment with TRL")
    parser.add_argument("--trl", type=Path, metavar="ENV", help="the environment that --set-up made")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.set_up:
        set_up(options.set_up)
    elif options.side:
        print(json.dumps({"ours": ours, "trl": trl}[options.side](SHAPES[options.shapes[0]], options.model)))
    elif options.trl and (options.trl / "bin/python").exists():
        compare(options.trl, options.shapes, options.repeats)
    else:
        parser.error("there is no environment with TRL: make one with --set-up ENV and give it with --trl ENV")


def set_up(environment: Path) -> None:
    """An environment that sees this one's libraries, so that both sides run on the same torch, with TRL beside them."""
    venv.create(environment, with_pip=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "beside.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    subprocess.run([environment / "bin/pip", "install", TRL, "datasets"], check=True)


def compare(environment: Path, shapes: Sequence[str], repeats: int) -> None:
    """Both sides in turns: every run as it ends, then medians, and the ratios of the runs that stood side by side."""
    pythons = {"ours": sys.executable, "trl": str(environment / "bin/python")}
    print("| shape | side | pairs/s | pairs/CPU s | accuracy | peak MB | matmul peak used |\n|---|---|---|---|---|---|---|", flush=True)
    for name in shapes:
        shape = SHAPES[name]
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        work = work_of(shape)
        with tempfile.TemporaryDirectory() as folder:
            write_model(shape, Path(folder))
            for repeat in range(repeats):
                for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
                    runs[side].append(run_side(pythons[side], side, name, Path(folder)))
                    show(name, side, shape, work, runs[side][-1:])
        for side, done in runs.items():
            show(f"{name}, median", side, shape, work, done)
        for what in ("seconds", "cpu_seconds"):
            ratios = [theirs[what] / own[what] for own, theirs in zip(runs["ours"], runs["trl"], strict=True)]
            print(
                f"{name}: {what} of TRL over ours, median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}",
                flush=True,
            )


def show(name: str, side: str, shape: Shape, work: float, runs: list[dict[str, float]]) -> None:
    """One row: medians over the runs."""
    middle = {what: statistics.median(run[what] for run in runs) for what in runs[0]}
    used = statistics.median(work / run["cpu_seconds"] / run["matmul_per_cpu_second"] for run in runs)
    speeds = f"{shape.pairs / middle['seconds']:.1f} | {shape.pairs / middle['cpu_seconds']:.1f}"
    print(f"| {name} | {side} | {speeds} | {middle['accuracy']:.3f} | {middle['peak_mb']:.0f} | {used:.2f} |", flush=True)


def run_side(python: str, side: str, shape: str, model: Path) -> dict[str, float]:
    """One run in a process of its own."""
    root = Path(__file__).parents[1]
    command = [python, __file__, "--side", side, "--shapes", shape, "--model", str(model)]
    environment = {**os.environ, "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr[-4000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def draw_pairs(count: int, words: int, seed: int) -> list[Pair]:
    """Pairs of log-normal lengths (medians 20 for prompts and 40 for responses, sigma 0.8, correlated 0.5 within a pair)."""
    random = np.random.default_rng(seed)

    def length(median: float, z: float) -> int:
        return int(np.clip(round(median * np.exp(0.8 * z)), 2, LONGEST // 2 - 1))

    def response(quality: float, z: float) -> list[int]:
        ids = random.integers(FIRST + 2 * MARKED, words, length(40, z))
        is_marked, is_good = random.random(len(ids)) < 0.5, random.random(len(ids)) < 1 / (1 + np.exp(-quality))
        marked = FIRST + random.integers(0, MARKED, len(ids)) + np.where(is_good, 0, MARKED)
        return [*np.where(is_marked, marked, ids).tolist(), END]

    pairs = []
    for _ in range(count):
        prompt = random.integers(FIRST + 2 * MARKED, words, length(20, random.normal())).tolist()
        common, *own = random.normal(size=3)
        qualities = sorted(random.normal(size=2), reverse=True)
        pairs.append(Pair(prompt, *(response(q, (common + z) / np.sqrt(2)) for q, z in zip(qualities, own, strict=True))))
    return pairs


def work_of(shape: Shape) -> float:
    """Floating-point operations of the matrix products that cannot be left out: of every real token, forward and backward in
    training, forward in evaluation; attention's own products, which are few at these lengths, are not counted."""
    per_token = 2 * shape.layers * (4 * shape.width**2 + 3 * shape.width * shape.feed_forward)
    tokens = [
        sum(2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in draw_pairs(count, shape.words, seed))
        for seed, count in ((0, shape.pairs), (1, HELD_OUT))
    ]
    return float(per_token * (3 * tokens[0] + tokens[1]))


def write_model(shape: Shape, folder: Path) -> None:
    """The model with its tokenizer, which neither side uses but to pad."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.words,
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=LONGEST,
        pad_token_id=PAD,
        eos_token_id=END,
        initializer_range=shape.width**-0.5,
    )
    LlamaModel(config).save_pretrained(folder)
    vocabulary = {"<pad>": PAD, "</s>": END} | {f"w{i}": i for i in range(FIRST, shape.words)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))  # noqa: S106 - a word of the vocabulary
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>").save_pretrained(folder)  # noqa: S106


def matmul_per_cpu_second(shape: Shape) -> float:
    """Floating-point operations of the model's own largest product, (2048, width) by (width, feed_forward), per CPU second."""
    import torch

    a, b = torch.randn(2048, shape.width), torch.randn(shape.width, shape.feed_forward)
    rates = []
    for _ in range(5):
        started, times = time.process_time(), 0
        while time.process_time() - started < 0.2:
            a @ b
            times += 1
        rates.append(2 * a.shape[0] * a.shape[1] * b.shape[1] * times / (time.process_time() - started))
    return max(rates)


def timed(shape: Shape, train: Callable[[], None], accuracy: Callable[[], float]) -> dict[str, float]:
    """What a run gives: seconds of the clock and of the CPU, accuracy, the process's peak memory, and the speed of a plain product."""
    peak = [matmul_per_cpu_second(shape)]
    wall, cpu = time.perf_counter(), time.process_time()
    train()
    figures = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peak.append(matmul_per_cpu_second(shape))
    return {**figures, "accuracy": accuracy(), "peak_mb": memory, "matmul_per_cpu_second": max(peak)}


def ours(shape: Shape, folder: Path) -> dict[str, float]:
    """The training loop of the job `train_reward_model`, checkpoints and all."""
    import torch

    from models.configs import RewardModelConfig
    from models.job import Job
    from models.language.text import EncodedPair
    from models.progress import Progress
    from models.reward.preference_data import Preference
    from models.reward.reward_model import new_reward_model
    from models.reward.training_loop import Training, score_preferences

    def side(pair: Pair, response: list[int]) -> EncodedPair:
        return EncodedPair([*pair.prompt, *response], len(response), False, False)

    def preferences(pairs: list[Pair]) -> list[Preference]:
        return [Preference(str(i), "", side(p, p.chosen), side(p, p.rejected), 1.0, 1.0) for i, p in enumerate(pairs)]

    config = RewardModelConfig(learning_rate=shape.learning_rate, batch_size=BATCH, max_length=LONGEST)
    held_out = preferences(draw_pairs(HELD_OUT, shape.words, seed=1))
    torch.manual_seed(0)
    model = new_reward_model(folder, LONGEST)
    with tempfile.TemporaryDirectory() as work:
        job = Job(config, {}, Path(work), Path(work), Progress(None))
        training = Training(job, model, preferences(draw_pairs(shape.pairs, shape.words, seed=0)), held_out)
        return timed(shape, training.run, lambda: float((score_preferences(model, held_out, 16384).differences > 0).double().mean()))


def trl(shape: Shape, folder: Path) -> dict[str, float]:
    """RewardTrainer with the same settings, in float32 and without recomputing activations, which it would do by default."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    def dataset(pairs: list[Pair]) -> Any:
        return Dataset.from_list([{"chosen_ids": p.prompt + p.chosen, "rejected_ids": p.prompt + p.rejected} for p in pairs])

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as work:
        settings = RewardConfig(
            output_dir=work,
            learning_rate=shape.learning_rate,
            per_device_train_batch_size=shape.trl_microbatch,
            per_device_eval_batch_size=32,
            gradient_accumulation_steps=BATCH // shape.trl_microbatch,
            num_train_epochs=1,
            warmup_steps=0.1,
            weight_decay=0.01,
            max_length=LONGEST,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            dataloader_pin_memory=False,
            disable_tqdm=True,
        )
        trainer = RewardTrainer(
            model=AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32),
            args=settings,
            train_dataset=dataset(draw_pairs(shape.pairs, shape.words, seed=0)),
            eval_dataset=dataset(draw_pairs(HELD_OUT, shape.words, seed=1)),
            processing_class=AutoTokenizer.from_pretrained(folder),
        )
        return timed(shape, trainer.train, lambda: float(trainer.evaluate()["eval_accuracy"]))


if __name__ == "__main__":
    main()

"""How fast PPO is, beside TRL's PPOTrainer: the same models, prompts, batch, response length, epochs and rewards, in turns.

    python benchmarks/ppo.py --set-up ENV                        once: an environment with TRL beside this one's libraries
    python benchmarks/ppo.py --trl ENV [--repeats 3] [--shapes small medium]     on a GPU: --shapes smollm2

Every run is a process of its own with as many threads as OMP_NUM_THREADS says. Its time is that of whole updates (sampling, scores,
advantages, epochs) after one that is not counted, without imports and loading. Policy, reference, value model and reward model are
Llamas of one shape with random weights; prompts are random words of one length. A response ends at the end token (TRL: the pad token),
which a random model samples rarely, so nearly all have the full length. All episodes of an update are one minibatch, as TRL's
accumulation has it. On a CPU everything is float32. On a GPU both sides learn in bfloat16 with weights in float32; `trl, bfloat16
weights` has the weights in bfloat16 too, as TRL's own example script does, which is faster and loses small steps.
"""

import argparse
import gc
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
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TRL, HALF = "trl==1.12.0", "trl, bfloat16 weights"
SIDES = ("ours", "trl", HALF)
PROMPT, EPOCHS = 64, 4
"""Tokens of a prompt; passes over each rollout."""
PAD, END, FIRST = 0, 1, 2
"""Token ids: padding, the end, and the first word."""


class Shape(NamedTuple):
    """A Llama with random weights, and how long it is trained."""

    width: int
    layers: int
    heads: int
    feed_forward: int
    words: int
    batch: int
    """Episodes of an update."""
    microbatch: int
    updates: int
    kv_heads: int | None = None
    """As many as heads, where there is no number."""
    new: int = 64
    """Tokens of a response."""
    on_gpu: bool = False


SHAPES = {
    "small": Shape(128, 4, 4, 384, 2048, batch=32, microbatch=32, updates=4),
    "medium": Shape(512, 6, 8, 1536, 8192, batch=16, microbatch=16, updates=2),
    "smollm2": Shape(576, 30, 9, 1536, 49152, batch=256, microbatch=64, updates=3, kv_heads=3, new=128, on_gpu=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set-up", type=Path, metavar="ENV", help="make the environment with TRL")
    parser.add_argument("--trl", type=Path, metavar="ENV", help="the environment that --set-up made")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=["small", "medium"])
    parser.add_argument("--microbatch", type=int, help="episodes in one pass; by default as many as the shape says")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.set_up:
        set_up(options.set_up)
    elif options.side:
        shape = SHAPES[options.shapes[0]]
        print(json.dumps(measured(options.side, shape._replace(microbatch=options.microbatch or shape.microbatch), options.model)))
    elif options.trl and (options.trl / "bin/python").exists():
        compare(options.trl, options.shapes, options.repeats, ["--microbatch", str(options.microbatch)] if options.microbatch else [])
    else:
        parser.error("there is no environment with TRL: make one with --set-up ENV and give it with --trl ENV")


def set_up(environment: Path) -> None:
    """An environment that sees this one's libraries, so that both sides run on the same torch, with TRL beside them."""
    venv.create(environment, with_pip=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "beside.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    subprocess.run([environment / "bin/pip", "install", TRL, "datasets"], check=True)


def compare(environment: Path, shapes: Sequence[str], repeats: int, settings: Sequence[str]) -> None:
    """Both sides in turns: every run as it ends, then medians, and the ratios of the runs that stood side by side."""
    print("| shape | side | episodes/s | episodes/CPU s | sampled tokens/s | other tokens/s | peak MB |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in shapes:
        sides = SIDES if SHAPES[name].on_gpu else SIDES[:2]
        pythons = {side: sys.executable if side == "ours" else str(environment / "bin/python") for side in sides}
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        with tempfile.TemporaryDirectory() as folder:
            write_model(SHAPES[name], Path(folder))
            for repeat in range(repeats):
                for side in sides if repeat % 2 == 0 else reversed(sides):
                    runs[side].append(run_side(pythons[side], side, name, Path(folder), settings))
                    show(name, side, SHAPES[name], runs[side][-1:])
        for side, done in runs.items():
            show(f"{name}, median", side, SHAPES[name], done)
        for side, what in ((side, what) for side in sides[1:] for what in ("seconds", "cpu_seconds")):
            ratios = [theirs[what] / own[what] for own, theirs in zip(runs["ours"], runs[side], strict=True)]
            told = f"median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
            print(f"{name}: {what} of {side} over ours, {told}", flush=True)


def show(name: str, side: str, shape: Shape, runs: Sequence[dict[str, float]]) -> None:
    """A row of the table: the medians of some runs. Other tokens are those of the prompts and responses of every epoch, in the time
    outside sampling."""
    seconds, cpu, sampling, peak = (
        statistics.median(r[key] for r in runs) for key in ("seconds", "cpu_seconds", "sampling_seconds", "peak_mb")
    )
    episodes = shape.batch * shape.updates
    sampled, other = episodes * shape.new / sampling, episodes * EPOCHS * (PROMPT + shape.new) / (seconds - sampling)
    print(
        f"| {name} | {side} | {episodes / seconds:.2f} | {episodes / cpu:.2f} | {sampled:,.0f} | {other:,.0f} | {peak:,.0f} |", flush=True
    )


def run_side(python: str, side: str, shape: str, folder: Path, settings: Sequence[str]) -> dict[str, float]:
    """One run in a process of its own."""
    command = [python, __file__, "--side", side, "--shapes", shape, "--model", str(folder), *settings]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr[-4000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def draw_prompts(shape: Shape) -> list[list[int]]:
    """Prompts of random words, enough for every episode."""
    random = np.random.default_rng(0)
    rows: list[list[int]] = random.integers(FIRST, shape.words, (shape.batch * (1 + shape.updates), PROMPT)).tolist()
    return rows


def write_model(shape: Shape, folder: Path) -> None:
    """The policy as a directory, with a tokenizer whose words are its tokens."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.words,
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=2 * (PROMPT + shape.new),
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=END,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    vocabulary = {"<pad>": PAD, "</s>": END} | {f"w{i}": i for i in range(FIRST, shape.words)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))  # noqa: S106 - a word of the vocabulary
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>").save_pretrained(folder)  # noqa: S106


class Clock:
    """Seconds that one function takes, summed over its calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            started = finished()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += finished() - started

        return timed


def finished() -> float:
    """The clock's seconds, as soon as the GPU, if there is one, has nothing to do."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measured(side: str, shape: Shape, folder: Path) -> dict[str, float]:
    """What a run gives: seconds of the clock and of the CPU, those of sampling, and the peak memory of the GPU, or of the process."""
    import torch

    sampling = Clock()
    prepare = ours(shape, folder, sampling) if side == "ours" else trl(shape, folder, sampling, half=side == HALF)
    prepare(1)()
    gc.collect()
    if shape.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    train = prepare(shape.updates)
    sampling.seconds, wall, cpu = 0.0, finished(), time.process_time()
    train()
    figures = {"seconds": finished() - wall, "cpu_seconds": time.process_time() - cpu, "sampling_seconds": sampling.seconds}
    peak = torch.cuda.max_memory_allocated() / 1e6 if shape.on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**figures, "peak_mb": peak}


def ours(shape: Shape, folder: Path, sampling: Clock) -> Callable[[int], Callable[[], object]]:
    """What makes the training loop of the job `train_policy`, checkpoints and all, of so many updates."""
    import torch
    from accelerate import Accelerator

    from models.checkpoint import Checkpoints
    from models.configs import SamplingConfig
    from models.language.prompts import EncodedPrompts, Prompt
    from models.language.text import load_tokenizer
    from models.policy_configs import PPOConfig
    from models.ppo import rollout
    from models.ppo.ground import Ground
    from models.ppo.rollout import Actors
    from models.ppo.train_policy import train
    from models.ppo.trainees.learner import new_learner
    from models.ppo.trainees.policy_model import load_policy
    from models.ppo.trainees.value_model import load_value_model
    from models.progress import Progress
    from models.reward.reward_model import new_reward_model

    config = PPOConfig(
        sampling=SamplingConfig(max_new_tokens=shape.new, max_prompt_tokens=PROMPT, batch_size=shape.batch),
        precision="bfloat16" if shape.on_gpu else "float32",
        rollout_batch_size=shape.batch,
        minibatch_size=shape.batch,
        microbatch_size=shape.microbatch,
        epochs=EPOCHS,
        kl_control="fixed",
        value_from="base_model",
        validation_prompts=0,
    )
    device, tokenizer = torch.device("cuda" if shape.on_gpu else "cpu"), load_tokenizer(folder)
    torch.manual_seed(0)
    policy, value = load_policy(config, folder, device, folder), load_value_model(config, folder, folder, tokenizer, device)
    reward = new_reward_model(folder, PROMPT + shape.new + 1).eval().to(device)
    learner = new_learner(policy.model, value, config, Accelerator(cpu=not shape.on_gpu), PAD)
    ids = draw_prompts(shape)
    prompts = [Prompt(f"{i:05d}", "all", [{"role": "user", "content": tokenizer.decode(row)}]) for i, row in enumerate(ids)]
    actors = Actors(policy.model, policy.reference, value, tokenizer, config.precision)
    ground = Ground(actors, reward.score, reward.score, EncodedPrompts(prompts, ids, cut=0), None)
    rollout.generate = sampling.timing(rollout.generate)  # type: ignore[attr-defined]

    def training(updates: int) -> None:
        with tempfile.TemporaryDirectory() as work:
            train(learner, ground, config.model_copy(update={"updates": updates}), Progress(None), Checkpoints(Path(work), "benchmark"))

    return lambda updates: partial(training, updates)


def trl(shape: Shape, folder: Path, sampling: Clock, *, half: bool) -> Callable[[int], Callable[[], object]]:
    """What makes a PPOTrainer's loop with the same settings, of so many updates; `half`: with weights in bfloat16."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    dtype = torch.bfloat16 if half else torch.float32

    def scalar() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=dtype)

    def language() -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)

    prompts = Dataset.from_list([{"input_ids": row} for row in draw_prompts(shape)])
    ppo_trainer.batch_generation = sampling.timing(ppo_trainer.batch_generation)
    torch.manual_seed(0)

    def training(updates: int) -> Callable[[], object]:
        settings = PPOConfig(
            output_dir=str(folder / "work"),
            learning_rate=3e-6,
            per_device_train_batch_size=shape.microbatch,
            per_device_eval_batch_size=shape.microbatch,
            gradient_accumulation_steps=shape.batch // shape.microbatch,
            local_rollout_forward_batch_size=shape.batch if shape.on_gpu else shape.microbatch,
            num_mini_batches=1,
            num_ppo_epochs=EPOCHS,
            total_episodes=shape.batch * updates,
            response_length=shape.new,
            temperature=1.0,
            missing_eos_penalty=1.0,
            num_sample_generations=0,
            bf16=shape.on_gpu,
            gradient_checkpointing=False,
            use_cpu=not shape.on_gpu,
            save_strategy="no",
            report_to="none",
            dataloader_pin_memory=False,
            disable_tqdm=True,
        )
        trainer = PPOTrainer(
            args=settings,
            processing_class=AutoTokenizer.from_pretrained(folder, padding_side="left"),
            model=language(),
            ref_model=language(),
            reward_model=scalar(),
            value_model=scalar(),
            train_dataset=prompts,
            eval_dataset=prompts.select(range(shape.microbatch)),
        )
        train: Callable[[], object] = trainer.train
        return train

    return training


if __name__ == "__main__":
    main()

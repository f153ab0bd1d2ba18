"""How fast PPO is, beside TRL's PPOTrainer: the same models, prompts, batch, response length, epochs and rewards, in turns.

    python benchmarks/ppo.py --set-up ENV                        once: an environment with TRL beside this one's libraries
    python benchmarks/ppo.py --trl ENV [--repeats 3] [--shapes small medium]

Every run is a process of its own with as many threads as OMP_NUM_THREADS says. Its time is that of whole updates (sampling, scores,
advantages, epochs), without imports and loading. Policy, reference, value model and reward model are Llamas of one shape with random
weights in float32; prompts are random words of one length. A response ends at the end token (TRL: the pad token), which a random
model samples rarely, so nearly all have the full length. All episodes of an update are one minibatch, as TRL's accumulation has it.
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
PROMPT, NEW, EPOCHS = 64, 64, 4
"""Tokens of a prompt and of a response; passes over each rollout."""
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


SHAPES = {
    "small": Shape(128, 4, 4, 384, 2048, batch=32, microbatch=32, updates=4),
    "medium": Shape(512, 6, 8, 1536, 8192, batch=16, microbatch=16, updates=2),
}


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
    print("| shape | side | episodes/s | episodes/CPU s | sampled tokens/CPU s | other tokens/CPU s | peak MB |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in shapes:
        runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        with tempfile.TemporaryDirectory() as folder:
            write_model(SHAPES[name], Path(folder))
            for repeat in range(repeats):
                for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
                    runs[side].append(run_side(pythons[side], side, name, Path(folder)))
                    show(name, side, SHAPES[name], runs[side][-1:])
        for side, done in runs.items():
            show(f"{name}, median", side, SHAPES[name], done)
        for what in ("seconds", "cpu_seconds"):
            ratios = [theirs[what] / own[what] for own, theirs in zip(runs["ours"], runs["trl"], strict=True)]
            told = f"median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
            print(f"{name}: {what} of TRL over ours, {told}", flush=True)


def show(name: str, side: str, shape: Shape, runs: Sequence[dict[str, float]]) -> None:
    """A row of the table: the medians of some runs. Other tokens are those of the prompts and responses of every epoch."""
    seconds, cpu, sampling, peak = (
        statistics.median(r[key] for r in runs) for key in ("seconds", "cpu_seconds", "sampling_cpu_seconds", "peak_mb")
    )
    episodes = shape.batch * shape.updates
    sampled, other = episodes * NEW / sampling, episodes * EPOCHS * (PROMPT + NEW) / (cpu - sampling)
    print(
        f"| {name} | {side} | {episodes / seconds:.2f} | {episodes / cpu:.2f} | {sampled:,.0f} | {other:,.0f} | {peak:,.0f} |", flush=True
    )


def run_side(python: str, side: str, shape: str, folder: Path) -> dict[str, float]:
    """One run in a process of its own."""
    command = [python, __file__, "--side", side, "--shapes", shape, "--model", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr[-4000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def draw_prompts(shape: Shape) -> list[list[int]]:
    """Prompts of random words, enough for every episode."""
    random = np.random.default_rng(0)
    return random.integers(FIRST, shape.words, (shape.batch * shape.updates, PROMPT)).tolist()


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
        max_position_embeddings=2 * (PROMPT + NEW),
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
    """Seconds of the CPU that one function takes, summed over its calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds += time.process_time() - started

        return timed


def timed(train: Callable[[], object], sampling: Clock) -> dict[str, float]:
    """What a run gives: seconds of the clock and of the CPU, those of sampling, and the process's peak memory."""
    wall, cpu = time.perf_counter(), time.process_time()
    train()
    figures = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu, "sampling_cpu_seconds": sampling.seconds}
    return figures | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def ours(shape: Shape, folder: Path) -> dict[str, float]:
    """The training loop of the job `train_policy`, checkpoints and all."""
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
        sampling=SamplingConfig(max_new_tokens=NEW, max_prompt_tokens=PROMPT, batch_size=shape.batch),
        updates=shape.updates,
        rollout_batch_size=shape.batch,
        minibatch_size=shape.batch,
        microbatch_size=shape.microbatch,
        epochs=EPOCHS,
        kl_control="fixed",
        value_from="base_model",
        validation_prompts=0,
    )
    device, tokenizer, sampling = torch.device("cpu"), load_tokenizer(folder), Clock()
    torch.manual_seed(0)
    policy, value = load_policy(config, folder, device, folder), load_value_model(config, folder, folder, tokenizer, device)
    reward = new_reward_model(folder, PROMPT + NEW + 1).eval()
    learner = new_learner(policy.model, value, config, Accelerator(cpu=True), PAD)
    ids = draw_prompts(shape)
    prompts = [Prompt(f"{i:05d}", "all", [{"role": "user", "content": tokenizer.decode(row)}]) for i, row in enumerate(ids)]
    actors = Actors(policy.model, policy.reference, value, tokenizer)
    ground = Ground(actors, reward.score, reward.score, EncodedPrompts(prompts, ids, cut=0), None)
    rollout.generate = sampling.timing(rollout.generate)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as work:
        return timed(lambda: train(learner, ground, config, Progress(None), Checkpoints(Path(work), "benchmark")), sampling)


def trl(shape: Shape, folder: Path) -> dict[str, float]:
    """PPOTrainer with the same settings, in float32."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    def scalar() -> Any:
        return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)

    def language() -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    sampling, prompts = Clock(), Dataset.from_list([{"input_ids": row} for row in draw_prompts(shape)])
    ppo_trainer.batch_generation = sampling.timing(ppo_trainer.batch_generation)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as work:
        settings = PPOConfig(
            output_dir=work,
            learning_rate=3e-6,
            per_device_train_batch_size=shape.microbatch,
            per_device_eval_batch_size=shape.microbatch,
            gradient_accumulation_steps=shape.batch // shape.microbatch,
            local_rollout_forward_batch_size=shape.microbatch,
            num_mini_batches=1,
            num_ppo_epochs=EPOCHS,
            total_episodes=shape.batch * shape.updates,
            response_length=NEW,
            temperature=1.0,
            missing_eos_penalty=1.0,
            num_sample_generations=0,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
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
        return timed(trainer.train, sampling)


if __name__ == "__main__":
    main()

"""How soon PPO comes to a given true reward in the simulated world, beside TRL's PPOTrainer: the same models and prompts, in turns.

    python benchmarks/ppo.py --set-up ENV                                   once: an environment with TRL beside this one's libraries
    overnight run --home HOME                                               once: a night of the built-in recipe
    python benchmarks/time_to_reward.py --trl ENV --home HOME [--repeats 1]

Base model, reward model and prompts are those of the home's last night. Ours is the job `train_policy` with the recipe's settings,
selection by the held-out judge and checkpoints in its time. TRL has as many episodes in a rollout and the same learning rate, and once
its own defaults for everything else, once the recipe's epochs, minibatches and price of the KL. The true reward is the mean of the last
256 sampled responses; looking it up stops the clock. Threads are as many as OMP_NUM_THREADS says.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_contracts.home import Home
from flows.night import NightRecord
from flows.recipe import load_recipe
from models.policy_configs import PPOConfig

SIDES = ("ours", "TRL, its defaults", "TRL, our settings")
GAINS = (0.5, 1.0, 1.25)
"""True rewards above the first rollout's."""
LAST = 256
"""Episodes that the true reward is the mean of."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", type=Path, required=True, metavar="ENV", help="the environment that benchmarks/ppo.py --set-up made")
    parser.add_argument("--home", type=Path, required=True, help="a home with a night of the built-in recipe")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        play = ours if options.side == SIDES[0] else trl
        print(json.dumps(play(inputs_of(options.home), recipe_policy(), options.side)))
        return
    runs: dict[str, list[list[dict[str, float]]]] = {side: [] for side in SIDES}
    for repeat in range(options.repeats):
        for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
            python = sys.executable if side == SIDES[0] else str(options.trl / "bin/python")
            runs[side].append(run_side(python, side, options.home))
            print(f"{side}: {runs[side][-1][-1]}", flush=True)
    show(runs)


def inputs_of(home: Path) -> dict[str, Path]:
    """The artifacts of the last night that a policy is trained from, by role."""
    record = NightRecord.model_validate_json(max((home / "nights").glob("*.json")).read_text())
    roles = {"base model": "base_model", "reward model": "reward_model", "held-out judge": "judge", "preferences": "prompts"}
    found = {one.stage: Home(home).artifacts.open(one.artifact_id).path for one in record.stages if one.stage in roles}
    return {role: found[stage] for stage, role in roles.items()}


def recipe_policy() -> PPOConfig:
    policy = load_recipe("built-in").policy
    assert isinstance(policy, PPOConfig)
    return policy


def run_side(python: str, side: str, home: Path) -> list[dict[str, float]]:
    """One run in a process of its own."""
    command = [python, __file__, "--side", side, "--home", str(home.resolve()), "--trl", "."]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr[-4000:]}")
    rollouts: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return rollouts


class Watch:
    """Notes the true reward of every rollout with the seconds until then, and does not count its own."""

    def __init__(self) -> None:
        self.rollouts: list[dict[str, float]] = []
        self._rewards: list[float] = []
        self._clocks = time.perf_counter(), time.process_time()

    def note(self, prompts: Sequence[str], responses: Sequence[str]) -> None:
        """A rollout has been sampled."""
        from tasks.simulation.true_reward import true_reward

        began = time.perf_counter(), time.process_time()
        self._rewards += [true_reward(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
        seconds, cpu_seconds = (now - start for now, start in zip(began, self._clocks, strict=True))
        reward = statistics.mean(self._rewards[-LAST:])
        self.rollouts.append({"episodes": len(self._rewards), "seconds": seconds, "cpu_seconds": cpu_seconds, "true_reward": reward})
        spent = time.perf_counter() - began[0], time.process_time() - began[1]
        self._clocks = self._clocks[0] + spent[0], self._clocks[1] + spent[1]


def ours(inputs: dict[str, Path], config: PPOConfig, _: str) -> list[dict[str, float]]:
    """The job `train_policy`, from loading the models on."""
    from models.job import Job
    from models.ppo import rollout, train_policy
    from models.progress import Progress

    texts, respond = prompt_texts(inputs), rollout.respond

    def watched(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *arguments: Any, **options: Any) -> Any:
        answers = respond(model, tokenizer, prompts, *arguments, **options)
        if tuple(prompts[0]) in texts:  # and not a validation, on other prompts
            watch.note([texts[tuple(prompt)] for prompt in prompts], [answer.text for answer in answers])
        return answers

    with tempfile.TemporaryDirectory() as folder:
        for name in ("output", "work"):
            (Path(folder) / name).mkdir()
        watch = Watch()
        rollout.respond = watched
        train_policy.run(Job(config, inputs, Path(folder) / "output", Path(folder) / "work", Progress(None)))
    return watch.rollouts


def prompt_texts(inputs: dict[str, Path]) -> dict[tuple[int, ...], str]:
    """The text of each prompt that is trained on, by its tokens."""
    from models.language.prompts import encode_prompts, load_prompts
    from models.language.text import load_tokenizer

    prompts = load_prompts(inputs["prompts"] / "prompts.parquet", "train")
    encoded = encode_prompts(load_tokenizer(inputs["base_model"] / "model"), prompts, recipe_policy().sampling.max_prompt_tokens)
    return {tuple(ids): prompt.messages[0]["content"] for prompt, ids in zip(encoded.prompts, encoded.ids, strict=True)}


def trl(inputs: dict[str, Path], config: PPOConfig, side: str) -> list[dict[str, float]]:
    """PPOTrainer, from loading the models on, in float32; its value model starts from the reward model, as ours does."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.experimental.ppo import PPOConfig as TheirConfig
    from trl.experimental.ppo import PPOTrainer, ppo_trainer

    folder, sample = inputs["base_model"] / "model", ppo_trainer.batch_generation
    texts, tokenizer = prompt_texts(inputs), AutoTokenizer.from_pretrained(folder, padding_side="left")
    prompts = Dataset.from_list([{"input_ids": list(ids)} for ids in texts])

    def watched(model: Any, queries: Any, *arguments: Any) -> Any:
        found = sample(model, queries, *arguments)
        answers = [without_end(row, tokenizer.eos_token_id) for row in found[0][:, queries.shape[1] :].tolist()]
        asked = [texts[tuple(token for token in row if token != tokenizer.pad_token_id)] for row in queries.tolist()]
        watch.note(asked, tokenizer.batch_decode(answers, skip_special_tokens=False))
        return found

    own = {} if side == SIDES[1] else settings_of(config)
    torch.manual_seed(0)
    watch = Watch()
    ppo_trainer.batch_generation = watched
    with tempfile.TemporaryDirectory() as work:
        settings = TheirConfig(
            output_dir=work,
            learning_rate=config.learning_rate,
            per_device_train_batch_size=config.microbatch_size,
            gradient_accumulation_steps=config.rollout_batch_size // config.microbatch_size,
            local_rollout_forward_batch_size=config.rollout_batch_size,
            total_episodes=config.rollout_batch_size * config.updates,
            response_length=config.sampling.max_new_tokens,
            stop_token="eos",  # noqa: S106 - where a response ends
            missing_eos_penalty=config.missing_eos_penalty,
            temperature=1.0,
            **{"num_sample_generations": 0, "bf16": False, "gradient_checkpointing": False, "use_cpu": True, "save_strategy": "no"},
            **{"report_to": "none", "dataloader_pin_memory": False, "disable_tqdm": True},
            **own,
        )
        PPOTrainer(
            args=settings,
            processing_class=tokenizer,
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            ref_model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            reward_model=sequence_scorer(inputs["reward_model"]),
            value_model=sequence_scorer(inputs["reward_model"]),
            train_dataset=prompts,
            eval_dataset=prompts.select(range(config.microbatch_size)),
        ).train()
    return watch.rollouts


def settings_of(config: PPOConfig) -> dict[str, Any]:
    """The recipe's settings by TRL's names. It has one learning rate for policy and value model, and no price of the KL that adapts."""
    minibatches = config.rollout_batch_size // config.minibatch_size
    return {
        **{"num_ppo_epochs": config.epochs, "num_mini_batches": minibatches, "kl_coef": config.kl_coef},
        **{"gamma": config.gamma, "lam": config.gae_lambda, "cliprange": config.clip_range, "cliprange_value": config.value_clip_range},
    }


def without_end(ids: Sequence[int], end: int) -> list[int]:
    return list(ids[: ids.index(end)]) if end in ids else list(ids)


def sequence_scorer(artifact: Path) -> Any:
    """Our reward model as transformers' classifier with one label: the same score, but for its constant, which TRL's has no place for."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from models.reward.reward_model import RewardModel, load_reward_model

    model = load_reward_model(artifact / "model")
    assert isinstance(model, RewardModel)
    scorer = AutoModelForSequenceClassification.from_pretrained(artifact / "model", num_labels=1, dtype=torch.float32)
    with torch.no_grad():
        scorer.base_model.load_state_dict(model.backbone.state_dict())
        scorer.score = torch.nn.Linear(scorer.score.in_features, 1)
        scorer.score.weight.copy_(model.gain * model.head.weight)
        scorer.score.bias.copy_(model.gain * model.head.bias + model.bias)
    return scorer


def show(runs: dict[str, list[list[dict[str, float]]]]) -> None:
    """For each side and gain: episodes and seconds until it was reached, medians over the runs that reached it."""
    print("| side | runs | first true reward | last | " + " | ".join(f"+{gain:g}: episodes, s, CPU s" for gain in GAINS) + " |")
    print(f"|---|---|---|---|{'---|' * len(GAINS)}")
    for side, curves in runs.items():
        ends = (statistics.median(curve[place]["true_reward"] for curve in curves) for place in (0, -1))
        told = [", ".join(median_of(curves, gain, what) for what in ("episodes", "seconds", "cpu_seconds")) for gain in GAINS]
        print(f"| {side} | {len(curves)} | {' | '.join(f'{end:.2f}' for end in ends)} | {' | '.join(told)} |")


def median_of(curves: Sequence[Sequence[dict[str, float]]], gain: float, what: str) -> str:
    reached = [value for curve in curves if (value := until(curve, gain, what)) is not None]
    return f"{statistics.median(reached):.0f}" if len(reached) == len(curves) else f"{len(reached)} of {len(curves)} runs"


def until(curve: Sequence[dict[str, float]], gain: float, what: str) -> float | None:
    """What had been spent when the true reward was first so far above the first rollout's."""
    enough = curve[0]["true_reward"] + gain
    return next((row[what] for row in curve[1:] if row["true_reward"] >= enough), None)


if __name__ == "__main__":
    main()

"""Job `train_dpo`: a policy straight from preferences, held near the reference policy by its loss, ending with the best step.

Left out on purpose: more than one process. Nothing draws from a generator that has a state: orders and samples are functions of the seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator

from data_contracts.errors import RecipeError
from models.batching import epoch_batches
from models.checkpoint import Checkpoints, Part
from models.dpo.dpo_math import PairLogprobs, dpo_losses, implicit_rewards
from models.dpo.pairs import Pair, all_logprobs, check_context, load_pairs, microbatches, pair_logprobs
from models.job import Headline, Job
from models.language.language_model import LanguageModel, load_language_model, save_language_model
from models.language.prompts import EncodedPrompts, encode_prompts, load_prompts
from models.language.text import load_tokenizer, pad_token
from models.metrics import finite, write_metrics
from models.optimization import StepGuard, adamw, set_learning_rate, warmup_linear
from models.policy_configs import DPOConfig
from models.ppo.ppo_update import mean_kl
from models.ppo.rollout import Actors
from models.ppo.scoring import Scorer
from models.ppo.selection import Best, sample_rows, sample_validation, write_samples
from models.precision import check_precision
from models.progress import Progress
from models.reward.preference_data import FILE_NAME
from models.reward.reward_model import load_reward_model


@dataclass(frozen=True)
class Ground:
    """What a policy is trained on: everything that stays as it is."""

    actors: Actors
    pairs: Sequence[Pair]
    judge: Scorer
    """Held out: chooses the best step, and is never trained on."""
    validation: EncodedPrompts | None
    """Prompts for choosing the best step; None keeps the last one."""
    pad_id: int


@dataclass
class Standing:
    """How far training is: with the policy's and the optimizer's tensors, all that a checkpoint has to keep."""

    steps: int = 0
    best: Best = field(default_factory=Best)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, object]] = field(default_factory=list)
    """The responses to the validation prompts, at every validation: rows of the record `policy sample`, but for `kept`."""


def run(job: Job[DPOConfig]) -> Headline:
    """Train a policy; writes `model/`, `metrics.jsonl` and, with validation prompts, `samples.parquet`.

    Inputs: `base_model` (start and reference), `judge` (a held-out reward model), `prompts` (preferences, with their prompts).
    """
    config, accelerator = job.config, Accelerator()
    if accelerator.num_processes > 1:
        raise RecipeError("DPO runs in one process", remedy="ask for one process for the policy stage")
    ground = _set_up(job, config, accelerator)
    training = Training(ground, config, accelerator, job.progress, Checkpoints(job.work, job.identity()))
    standing = training.run()
    save_language_model(ground.actors.policy, ground.actors.tokenizer, job.output / "model")
    write_metrics(job.output / "metrics.jsonl", standing.metrics)
    write_samples(job.output / "samples.parquet", standing.samples, standing.best)
    return {
        **_gains(standing),
        "steps": standing.steps,
        "pairs": len(ground.pairs),
        "steps_skipped": training.guard.skipped,
        "pairs_cut": sum(pair.is_cut for pair in ground.pairs),
    }


class Training:
    """The training loop with what a checkpoint has to hold."""

    def __init__(self, ground: Ground, config: DPOConfig, accelerator: Accelerator, progress: Progress, checkpoints: Checkpoints) -> None:
        """Training that has not begun; what the reference says of every pair is computed once, here."""
        self.ground, self.config, self.accelerator = ground, config, accelerator
        self.progress, self.checkpoints = progress, checkpoints
        self.policy: LanguageModel = ground.actors.policy
        self.optimizer = adamw(self.policy, weight_decay=0.0)
        self.guard = StepGuard(config.max_grad_norm)
        self.standing = Standing()
        self.reference = all_logprobs(ground.actors.reference, ground.pairs, ground.pad_id, config)

    def run(self) -> Standing:
        """Train the policy in place; it ends with the weights of the best step, or of the last one without validation."""
        standing, config = self._resume(), self.config
        lengths = [pair.length for pair in self.ground.pairs]
        per_epoch = -(-len(lengths) // config.batch_size)
        total = config.epochs * per_epoch
        if not standing.metrics:
            standing.metrics.append({"step": 0, **self._validate()})
        while standing.steps < total and self._is_within_budget():
            epoch, place = divmod(standing.steps, per_epoch)
            rows = epoch_batches(lengths, config.batch_size, config.seed, "dpo", epoch)[place]
            learning_rate = config.learning_rate * warmup_linear(standing.steps, total, config.warmup)
            set_learning_rate(self.optimizer, learning_rate)
            figures = self._step(rows)
            standing.steps += 1
            row = {"step": standing.steps, **figures, "learning_rate": learning_rate, "steps_skipped": self.guard.skipped}
            if standing.steps * config.validations // total > (standing.steps - 1) * config.validations // total:
                row |= self._validate()
            standing.metrics.append(row)
            self.progress.report(standing.steps, total, loss=figures["loss"], accuracy=figures["accuracy"])
            if self.checkpoints.due():
                self._save()
        standing.best.give_to(self.policy)
        return standing

    def _step(self, rows: Sequence[int]) -> dict[str, float | None]:
        """One optimizer step on a batch of pairs; gradients add up over microbatches. The figures are weighted means over the pairs."""
        self.policy.train()
        total = sum(self.ground.pairs[i].weight for i in rows)
        sums = torch.zeros(5)
        for part in microbatches([self.ground.pairs[i] for i in rows], self.config.microbatch_tokens):
            sums += self._accumulate([rows[place] for place in part], total).cpu()
        loss, accuracy, margin, chosen, rejected = sums.tolist()
        grad_norm = self.guard.step(self.policy.parameters(), self.optimizer)
        figures = {"loss": loss, "accuracy": accuracy, "margin": margin, "chosen_reward": chosen, "rejected_reward": rejected}
        return {name: finite(value) for name, value in {**figures, "grad_norm": grad_norm}.items()}

    def _accumulate(self, rows: Sequence[int], total_weight: float) -> torch.Tensor:
        """Add the gradient of these pairs' part of a batch's mean loss; the parts of its five figures."""
        pairs = [self.ground.pairs[i] for i in rows]
        policy = pair_logprobs(self.policy, pairs, self.ground.pad_id, self.config)
        rewards = implicit_rewards(policy, PairLogprobs(*(side[list(rows)] for side in self.reference)), self.config.beta)
        margins = rewards.chosen - rewards.rejected
        weights, probabilities = torch.tensor([[p.weight / total_weight, p.probability] for p in pairs]).to(margins).unbind(1)
        losses = dpo_losses(margins, probabilities)
        self.accelerator.backward((weights * losses).sum())
        accurate = (margins.sign() + 1) / 2  # a tie counts half
        return (weights * torch.stack([losses, accurate, margins, *rewards])).sum(1).detach()

    def _validate(self) -> dict[str, float]:
        """Let the held-out judge score the policy on the validation prompts, and keep it if it is the best so far."""
        ground, config, standing = self.ground, self.config, self.standing
        if ground.validation is None:
            return {}
        size = max(1, config.microbatch_tokens // (config.sampling.max_prompt_tokens + config.sampling.max_new_tokens))
        rollout = sample_validation(ground.actors, ground.judge, ground.validation, config, microbatch_size=size)
        score, kl = float(rollout.scores.mean()), float(mean_kl(rollout))
        standing.best.consider(self.policy, standing.steps, score, kl_k1=kl, budget=config.kl_stop)
        judged = sample_rows(standing.steps, ground.validation, rollout, rollout.scores)
        standing.samples += [row | {"score": None, "disagreement": None, "terms": []} for row in judged]
        if kl > config.kl_stop:
            self.progress.note(f"stopped after {standing.steps} steps: a KL of {kl:.1f} nats per response is above kl_stop")
        return {"validation_judge_score": score, "validation_kl_k1": kl}

    def _is_within_budget(self) -> bool:
        """Whether no validation found the KL above its budget."""
        return all(row.get("validation_kl_k1", 0.0) <= self.config.kl_stop for row in self.standing.metrics)

    def _parts(self) -> dict[str, Part]:
        return {"policy": self.policy, "optimizer": self.optimizer, "best": self.standing.best.weights}

    def _save(self) -> None:
        guard = [self.guard.skipped, self.guard.in_a_row]
        state = {"best": self.standing.best.state(), "metrics": self.standing.metrics, "samples": self.standing.samples, "guard": guard}
        self.checkpoints.save(self.standing.steps, self._parts(), state)

    def _resume(self) -> Standing:
        """Where the last checkpoint stands, with its tensors put back; the beginning without one."""
        found = self.checkpoints.restore(self._parts())
        if found is not None:
            self.standing.steps, state = found
            self.standing.best.restore(state["best"])
            self.standing.metrics, self.standing.samples = state["metrics"], state["samples"]
            self.guard.skipped, self.guard.in_a_row = state["guard"]
            self.progress.note(f"going on from the checkpoint of step {self.standing.steps}")
        return self.standing


def _set_up(job: Job[DPOConfig], config: DPOConfig, accelerator: Accelerator) -> Ground:
    """The models, where they are to be, the pairs and the prompts."""
    base, device = job.input("base_model", "model"), accelerator.device
    check_precision(config.precision, device, "policy.precision")
    tokenizer = load_tokenizer(base)
    policy = accelerator.prepare_model(load_language_model(base, device))
    reference = load_language_model(base, device).eval().requires_grad_(False)
    pairs = load_pairs(job.input("prompts", FILE_NAME), "train", tokenizer, config)
    check_context(pairs, policy)
    longest, path = config.sampling.max_prompt_tokens, job.input("prompts", "prompts.parquet")
    validation = load_prompts(path, "validation", config.validation_prompts) if config.validation_prompts else None
    return Ground(
        actors=Actors(policy, reference, None, tokenizer, config.precision),
        pairs=pairs,
        judge=load_reward_model(job.input("judge", "model"), device).score,
        validation=encode_prompts(tokenizer, validation, longest) if validation else None,
        pad_id=pad_token(tokenizer),
    )


def _gains(standing: Standing) -> dict[str, float | int | None]:
    """What training gained by the judge, from the base model to the policy that was kept; without validation, the last loss."""
    rows = {row["step"]: row for row in standing.metrics}
    if standing.best.at is None:
        return {"best_step": standing.steps, "loss": standing.metrics[-1]["loss"]}
    base, best = rows[0], rows[standing.best.at]
    return {
        "best_step": standing.best.at,
        "kl": best["validation_kl_k1"],
        "judge_gain": best["validation_judge_score"] - base["validation_judge_score"],
    }

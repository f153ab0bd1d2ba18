"""Job `train_reward_model`: a Bradley-Terry reward model from preferences with soft labels and weights.

The probability that `chosen` is preferred is modelled as σ(margin), margin = score(chosen) − score(rejected) (Bradley and
Terry, 1952), and fitted to the estimated probability of the preference, not to a hard label. The epoch with the lowest loss
on the validation split is kept. At the end the scores are normalised on the responses it learned from.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from torch import Tensor

from data_contracts.errors import StageError
from models.batching import epoch_batches, token_batches
from models.checkpoint import Checkpoints, Part
from models.configs import RewardModelConfig
from models.job import Headline, Job
from models.metrics import write_metrics
from models.optimization import StepGuard, adamw, set_learning_rate, warmup_linear
from models.randomness import derive_seed
from models.reward.preference_data import FILE_NAME, Preference, encode_split, read_preferences
from models.reward.reward_evaluation import Scores, evaluate_scores
from models.reward.reward_evaluation import log_loss as mean_log_loss
from models.reward.reward_model import RewardModel, new_reward_model

SELECTION, HELD_OUT = "validation", "test"
"""The split that chooses the epoch, and the one whose figures count."""


def run(job: Job[RewardModelConfig]) -> Headline:
    """Train, choose, evaluate and normalise; writes `model/`, `metrics.jsonl` and `evaluation.json`."""
    config = job.config
    torch.manual_seed(derive_seed(config.seed, "reward_model", "weights"))
    model = new_reward_model(job.input("base_model", "model"), config.max_length).to(Accelerator().device)
    rows = read_preferences(job.input("preferences", FILE_NAME))
    splits = {name: encode_split(rows, name, model) for name in (config.split, SELECTION, HELD_OUT)}
    trained = _Training(job, model, splits)
    trained.run()
    scores = {name: score_preferences(model, preferences, config.microbatch_tokens) for name, preferences in splits.items()}
    evaluation = {name: evaluate_scores(preferences, scores[name]) for name, preferences in splits.items()}
    model.normalise(torch.from_numpy(scores[config.split].chosen), torch.from_numpy(scores[config.split].rejected))
    model.save(job.output / "model")
    write_metrics(job.output / "metrics.jsonl", trained.metrics)
    (job.output / "evaluation.json").write_text(json.dumps(evaluation, indent=2) + "\n")
    shown = ("accuracy", "accuracy_low", "accuracy_high", "log_loss", "length_accuracy", "n_pairs", "n_prompts")
    figures: Any = evaluation[HELD_OUT]
    return {name: figures[name] for name in shown} | {"best_epoch": trained.best_epoch, "skipped_steps": trained.guard.skipped}


def bradley_terry_loss(margins: Tensor, probabilities: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of −p·ln σ(margin) − (1−p)·ln σ(−margin), each argument (B,); divide by the batch's weight for the mean."""
    losses = -probabilities * F.logsigmoid(margins) - (1 - probabilities) * F.logsigmoid(-margins)
    return (weights * losses).sum()


def margins_of(model: RewardModel, pairs: Sequence[Preference]) -> Tensor:
    """Margins (B,) of pairs, both sides in one forward pass."""
    scores = model.score_tokens([pair.chosen.ids for pair in pairs] + [pair.rejected.ids for pair in pairs])
    return scores[: len(pairs)] - scores[len(pairs) :]


def accumulate_gradients(
    model: RewardModel, accelerator: Accelerator, pairs: Sequence[Preference], microbatch_tokens: int
) -> dict[str, float]:
    """Add the gradient of the pairs' weighted mean loss, in forward passes of at most so many tokens; their loss and accuracy."""
    total_weight, loss, right = sum(pair.weight for pair in pairs), 0.0, 0.0
    for rows in token_batches([2 * pair.length for pair in pairs], microbatch_tokens):
        part = [pairs[i] for i in rows]
        margins = margins_of(model, part)
        probabilities, weights = _columns(part, margins.device)
        part_loss = bradley_terry_loss(margins, probabilities, weights) / total_weight
        accelerator.backward(part_loss)
        loss += part_loss.item()
        right += ((margins.detach().sign() + 1) / 2).sum().item()
    return {"loss": loss, "accuracy": right / len(pairs)}


def score_preferences(model: RewardModel, preferences: Sequence[Preference], microbatch_tokens: int) -> Scores:
    """Scores of both sides of every preference."""
    sides = [p.chosen.ids for p in preferences] + [p.rejected.ids for p in preferences]
    scores = model.score_encoded(sides, microbatch_tokens).double().numpy()
    return Scores(scores[: len(preferences)], scores[len(preferences) :])


def _columns(pairs: Sequence[Preference], device: torch.device) -> tuple[Tensor, Tensor]:
    columns = torch.tensor([(pair.probability, pair.weight) for pair in pairs], dtype=torch.float32, device=device)
    return columns[:, 0], columns[:, 1]


class _Training:
    """The training loop with what a checkpoint has to hold."""

    def __init__(self, job: Job[RewardModelConfig], model: RewardModel, splits: dict[str, list[Preference]]) -> None:
        self.job, self.config, self.model = job, job.config, model
        self.pairs, self.validation = splits[job.config.split], splits[SELECTION]
        self.optimizer = adamw(model, weight_decay=job.config.weight_decay)
        self.guard = StepGuard(job.config.max_grad_norm)
        self.metrics: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch, self.best_loss = 0, math.inf
        self.checkpoints = Checkpoints(job.work, job.identity())
        self.parts: dict[str, Part] = {"model": model, "optimizer": self.optimizer, "best": self.best}

    def run(self) -> None:
        """Train, and leave the best epoch's weights in the model."""
        accelerator, config = Accelerator(), self.config
        per_epoch = math.ceil(len(self.pairs) / config.batch_size)
        total, start = config.epochs * per_epoch, self._restore()
        for step in range(start, total):
            epoch, place = divmod(step, per_epoch)
            if place == 0 or step == start:
                batches = epoch_batches([p.length for p in self.pairs], config.batch_size, config.seed, "reward_model", "order", epoch)
            learning_rate = config.learning_rate * warmup_linear(step, total, config.warmup)
            set_learning_rate(self.optimizer, learning_rate)
            figures = accumulate_gradients(self.model, accelerator, [self.pairs[i] for i in batches[place]], config.microbatch_tokens)
            grad_norm = self.guard.step(self.model.parameters(), self.optimizer)
            self.metrics.append({"step": step + 1, **figures, "learning_rate": learning_rate, "grad_norm": grad_norm})
            if place == per_epoch - 1:
                self._validate(epoch + 1)
            self.job.progress.report(step + 1, total, loss=figures["loss"], accuracy=figures["accuracy"])
            if self.checkpoints.due():
                self._save(step + 1)
        if not self.best:
            raise StageError("no epoch had a finite loss on the validation split", remedy="lower the learning rate and run again")
        self.model.load_state_dict(self.best)

    def _validate(self, epoch: int) -> None:
        """Measure the validation loss, and keep the weights if it is the lowest so far."""
        scores = score_preferences(self.model, self.validation, self.config.microbatch_tokens)
        probabilities, weights = (column.double().numpy() for column in _columns(self.validation, torch.device("cpu")))
        loss = mean_log_loss(scores.chosen - scores.rejected, probabilities, weights)
        self.metrics.append({"epoch": epoch, "validation_log_loss": loss})
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch, loss
            self.best.update({name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()})

    def _save(self, step: int) -> None:
        guard = {"skipped": self.guard.skipped, "in_a_row": self.guard.in_a_row}
        best = {"best_epoch": self.best_epoch, "best_loss": self.best_loss}
        self.checkpoints.save(step, self.parts, {"metrics": self.metrics, **guard, **best})

    def _restore(self) -> int:
        found = self.checkpoints.restore(self.parts)
        if found is None:
            return 0
        step, state = found
        self.metrics, self.best_epoch, self.best_loss = state["metrics"], state["best_epoch"], state["best_loss"]
        self.guard.skipped, self.guard.in_a_row = state["skipped"], state["in_a_row"]
        self.job.progress.note(f"going on from the checkpoint of step {step}")
        return step

"""The training loop of a reward model, from the first step to the weights with the lowest validation loss."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor

from data_contracts.errors import StageError
from models.batching import epoch_batches
from models.checkpoint import Checkpoints, Part
from models.configs import RewardModelConfig
from models.job import Job
from models.optimization import StepGuard, adamw, set_learning_rate, warmup_linear
from models.processes import own_share, total
from models.reward.learner import Learner, accumulate_gradients
from models.reward.preference_data import Preference, distinct_sequences, in_groups
from models.reward.scoring import Scoring


class MemberScores(NamedTuple):
    """Members' scores of n preferences as trained, before they are normalised, each (n, K)."""

    chosen: Tensor
    rejected: Tensor

    @property
    def differences(self) -> Tensor:
        """What the likelihood sees, (n, K)."""
        return self.chosen - self.rejected


def score_preferences(model: Scoring, preferences: Sequence[Preference], microbatch_tokens: int) -> MemberScores:
    """Members' scores of both sides of every preference, in float64; processes that train together share the work."""
    accelerator = Accelerator()
    sequences, chosen, rejected = distinct_sequences(preferences)
    places = own_share(sorted(range(len(sequences)), key=lambda i: len(sequences[i])), accelerator)
    scores = torch.zeros(len(sequences), model.settings.members, dtype=torch.float64)
    scores[places] = model.score_encoded([sequences[i] for i in places], microbatch_tokens).double()
    scores = total(scores, accelerator)
    return MemberScores(scores[chosen], scores[rejected])


class Training:
    """The training loop with what a checkpoint has to hold."""

    def __init__(
        self,
        job: Job[RewardModelConfig],
        model: Scoring,
        pairs: Sequence[Preference],
        validation: Sequence[Preference],
        resample: Mapping[str, list[float]] | None = None,
    ) -> None:
        """Training that has not begun: on the pairs, with the validation ones choosing the epoch; see `Learner` for `resample`."""
        self.job, self.config, self.model = job, job.config, model
        self.groups, self.validation = in_groups(pairs, job.config.together), validation
        self.learner = Learner(model, job.config, pairs, resample).to(model.device)
        self.optimizer = adamw(model, weight_decay=job.config.weight_decay)
        if beside := list(self.learner.beside_the_score.values()):
            self.optimizer.add_param_group({"params": beside, "weight_decay": 0.0})
        self.guard = StepGuard(job.config.max_grad_norm)
        self.metrics: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch, self.best_loss, self.stalled = 0.0, math.inf, 0
        self.per_epoch = math.ceil(len(self.groups) / job.config.batch_size)
        self.checkpoints = Checkpoints(job.work, job.identity())
        self.parts: dict[str, Part] = {"learner": self.learner, "optimizer": self.optimizer, "best": self.best}

    def run(self) -> None:
        """Train, and leave the weights with the lowest validation loss in the learner."""
        accelerator, config = Accelerator(), self.config
        self.learner.train()  # without dropout, all that it changes is whether gradient checkpointing is done
        steps, start = config.epochs * self.per_epoch, self._restore()
        for step in range(start, steps):
            if self.stalled >= config.patience:
                self.job.progress.note(f"stopped after {step} of {steps} steps: the validation loss no longer falls")
                break
            epoch, place = divmod(step, self.per_epoch)
            if place == 0 or step == start:
                batches = epoch_batches([g.length for g in self.groups], config.batch_size, config.seed, "reward_model", "order", epoch)
            learning_rate = self._set_learning_rates(warmup_linear(step, steps, config.warmup))
            figures = accumulate_gradients(self.learner, accelerator, [self.groups[i] for i in batches[place]], config.microbatch_tokens)
            grad_norm = self.guard.step(self.learner.parameters(), self.optimizer)
            self.metrics.append({"step": step + 1, **figures, "learning_rate": learning_rate, "grad_norm": grad_norm})
            if self._validations(step + 1) > self._validations(step):
                self._validate((step + 1) / self.per_epoch)
            self.job.progress.report(step + 1, steps, loss=figures["loss"], accuracy=figures["accuracy"])
            if accelerator.is_main_process and self.checkpoints.due():
                self._save(step + 1)
        if not self.best:
            raise StageError("the loss on the validation split was never finite", remedy="lower the learning rate and run again")
        self.take_best()

    def take_best(self) -> None:
        """Put the weights with the lowest validation loss into the learner; what does not learn is as it was."""
        self.learner.load_state_dict(self.best, strict=False)

    def _validations(self, steps: int) -> int:
        """How many validations there are in so many steps, at equal distances; each epoch ends with one."""
        return steps * self.config.validations_per_epoch // self.per_epoch

    def _set_learning_rates(self, share: float) -> float:
        """Set the learning rates of the step to come to this share of their peaks; the model's own."""
        set_learning_rate(self.optimizer, self.config.learning_rate * share)
        if self.learner.beside_the_score:
            self.optimizer.param_groups[-1]["lr"] = self.config.likelihood_learning_rate * share
        return self.config.learning_rate * share

    def _validate(self, epoch: float) -> None:
        """Measure the validation loss after so many epochs, and keep the weights if it is the lowest so far."""
        scores = score_preferences(self.model, self.validation, self.config.microbatch_tokens)
        loss = self.learner.mean_loss(self.validation, scores.differences)
        beside = {f"{name}_parameter": parameter.tolist() for name, parameter in self.learner.beside_the_score.items()}
        self.metrics.append({"epoch": epoch, "validation_log_loss": loss, **beside})
        self.stalled += 1
        if loss < self.best_loss:
            self.best_epoch, self.best_loss, self.stalled = epoch, loss, 0
            self.best.update({name: p.detach().clone() for name, p in self.learner.named_parameters() if p.requires_grad})

    def _save(self, step: int) -> None:
        guard = {"skipped": self.guard.skipped, "in_a_row": self.guard.in_a_row}
        best = {"best_epoch": self.best_epoch, "best_loss": self.best_loss, "stalled": self.stalled}
        self.checkpoints.save(step, self.parts, {"metrics": self.metrics, **guard, **best})

    def _restore(self) -> int:
        found = self.checkpoints.restore(self.parts)
        if found is None:
            return 0
        step, state = found
        self.metrics, self.stalled = state["metrics"], state["stalled"]
        self.best_epoch, self.best_loss = state["best_epoch"], state["best_loss"]
        self.guard.skipped, self.guard.in_a_row = state["skipped"], state["in_a_row"]
        self.job.progress.note(f"going on from the checkpoint of step {step}")
        return step

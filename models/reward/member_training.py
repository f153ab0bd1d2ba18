"""Trains the members of a reward model: heads on one backbone together, or models of their own one after the other.

A model that is finished is kept until the job ends, so that a job that was killed goes on with the one that it was at. What they
have in common is the split, and the validation preferences that choose each one's epoch; start, order and prompts are its own.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

from models.checkpoint import Checkpoints
from models.configs import RewardModelConfig
from models.job import Job
from models.progress import Progress
from models.randomness import derive_seed
from models.reward.ensemble import resample_weights
from models.reward.fine_tuning import FineTuning
from models.reward.learner import Learner
from models.reward.preference_data import Preference
from models.reward.reward_model import FullEnsemble, RewardModel, new_reward_model
from models.reward.training_loop import Training


class Trained(NamedTuple):
    """A model whose training has ended, and what is told of it."""

    learner: Learner
    metrics: list[dict[str, Any]]
    best_epoch: float
    """Of several models, the mean."""
    skipped_steps: int


class MemberProgress(Progress):
    """What one of several models tells, as a part of the whole job's."""

    def __init__(self, whole: Progress, member: int, members: int) -> None:
        super().__init__(None)
        self.whole, self.member, self.members = whole, member, members

    def report(self, done: int, total: int, **figures: float | str | None) -> None:
        """`done` of `total` parts of this model's work."""
        self.whole.report(self.member * total + done, self.members * total, member=self.member, **figures)

    def note(self, message: str) -> None:
        """Something that a person who watches should read."""
        self.whole.note(f"member {self.member}: {message}")


def new_model(job: Job[RewardModelConfig]) -> RewardModel:
    """The model that a job's training starts with; of an ensemble of models, one of them."""
    config = job.config
    torch.manual_seed(derive_seed(config.seed, "reward_model", "weights"))
    ensemble: dict[str, Any] = {"combination": config.combination, "uncertainty_coef": config.uncertainty_coef}
    heads = {"members": config.members, **ensemble} if config.ensemble == "heads" else {}
    return new_reward_model(job.input("base_model", "model"), config.max_length, **heads).to(Accelerator().device)


def train_heads(job: Job[RewardModelConfig], model: RewardModel, pairs: Sequence[Preference], validation: Sequence[Preference]) -> Trained:
    """Train a model with all its heads."""
    fine_tuning = FineTuning(model, job.config)
    training = Training(job, model, pairs, validation)
    training.run()
    fine_tuning.merge()
    return Trained(training.learner, training.metrics, training.best_epoch, training.guard.skipped)


def train_models(job: Job[RewardModelConfig], pairs: Sequence[Preference], validation: Sequence[Preference]) -> Trained:
    """Train one model after the other, each on its own resample of the prompts, and put them together."""
    config = job.config
    drawn = resample_weights([pair.prompt_id for pair in pairs], config.members, config.seed)
    trained = []
    for member in range(config.members):
        own = {prompt_id: [weights[member]] for prompt_id, weights in drawn.items()}
        trained.append(_train_member(_job_of(job, member), pairs, validation, own))
    models = [one.learner.model for one in trained if isinstance(one.learner.model, RewardModel)]
    settings = models[0].settings._replace(members=config.members, combination=config.combination, uncertainty_coef=config.uncertainty_coef)
    ensemble = FullEnsemble(models, settings).to(Accelerator().device)
    learner = Learner(ensemble, config, pairs, drawn)
    with torch.no_grad():
        for name, parameter in learner.beside_the_score.items():
            parameter.copy_(torch.cat([one.learner.beside_the_score[name] for one in trained]))
    metrics = [{"member": member, **row} for member, one in enumerate(trained) for row in one.metrics]
    return Trained(learner, metrics, fmean(one.best_epoch for one in trained), sum(one.skipped_steps for one in trained))


def _job_of(job: Job[RewardModelConfig], member: int) -> Job[RewardModelConfig]:
    """A member's own job: a single model with another seed, and a folder of its own for what it keeps."""
    single = {"members": 1, "ensemble": "heads", "combination": "mean", "seed": derive_seed(job.config.seed, "member", member)}
    progress = MemberProgress(job.progress, member, job.config.members)
    return replace(job, config=job.config.model_copy(update=single), work=job.work / f"member-{member}", progress=progress)


def _train_member(
    job: Job[RewardModelConfig], pairs: Sequence[Preference], validation: Sequence[Preference], resample: Mapping[str, list[float]]
) -> Trained:
    """A member that was trained now or, where the job goes on after a kill, before; on the CPU, to leave the GPU to the next."""
    model = new_model(job)
    fine_tuning = FineTuning(model, job.config)
    training = Training(job, model, [pair for pair in pairs if resample[pair.prompt_id][0]], validation, resample)
    finished = Checkpoints(job.work / "finished", job.identity())
    found = finished.restore({"best": training.best})
    if found is None:
        training.run()
        told: dict[str, Any] = {"metrics": training.metrics, "best_epoch": training.best_epoch, "skipped_steps": training.guard.skipped}
        if Accelerator().is_main_process:
            finished.save(0, {"best": training.best}, told)
            shutil.rmtree(job.work / "checkpoints", ignore_errors=True)
    else:
        told = found[1]
        training.take_best()
    fine_tuning.merge()
    training.learner.cpu()
    return Trained(training.learner, **told)

"""Job `train_policy`: PPO, or a relative, against a reward model, held near the reference policy by KL, ending with the best update.

Processes that train together share out episodes and scores, and each has the whole rollout, so that all come to the same decisions.
Left out on purpose: generation on another machine.
Nothing draws from a generator that has a state: samples and orders are functions of the seed and the update's number.
"""

import time
from dataclasses import dataclass, field
from typing import NamedTuple

from accelerate import Accelerator

from data_contracts.errors import RecipeError
from models.checkpoint import Checkpoints, Part
from models.job import Headline, Job
from models.language.language_model import save_language_model
from models.language.prompts import EncodedPrompts, deal
from models.metrics import write_metrics
from models.policy_configs import PPOConfig
from models.ppo.ground import Ground, set_up
from models.ppo.memory import estimate, quoted_when_short
from models.ppo.monitors import Alarm, alarms
from models.ppo.ppo_math import AdaptiveKLController
from models.ppo.ppo_update import learn, make_lesson, mean_kl, update_figures
from models.ppo.rollout import Rollout, collect_rollout
from models.ppo.scoring import score_together
from models.ppo.selection import Best, sample_rows, sample_validation, write_samples
from models.ppo.trainees.learner import Learner
from models.progress import Progress
from models.randomness import derive_seed
from models.sharding import whole_weights
from models.sizes import GIB

Metrics = dict[str, float | int | None]


@dataclass
class Standing:
    """How far training is: with the learner's tensors, all that a checkpoint has to keep."""

    kl: AdaptiveKLController
    updates: int = 0
    best: Best = field(default_factory=Best)
    metrics: list[Metrics] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    samples: list[dict[str, object]] = field(default_factory=list)
    """The responses to the validation prompts, at every validation: rows of the record `policy sample`, but for `kept`."""

    @property
    def is_stopped(self) -> bool:
        """Whether a monitor ended training."""
        return any(alarm.action == "stop" for alarm in self.alarms)


class Validation(NamedTuple):
    """Means over the validation prompts."""

    judge_score: float
    score: float
    kl_k1: float
    """Nats per response."""


def run(job: Job[PPOConfig]) -> Headline:
    """Train a policy; writes `model/`, `metrics.jsonl`, `alarms.jsonl` and, with validation prompts, `samples.parquet`.

    Inputs: `base_model` (the reference, and the start where there is no other), `judge` (a held-out reward model), `prompts`; where the
    recipe needs them, `start`, `reward_model`, `prompt_files` and `corpus`.
    """
    config, accelerator = job.config, Accelerator()
    policy, learner, ground = set_up(job, accelerator)
    memory = estimate(learner, ground, config)
    job.progress.note(memory.text(accelerator.device))
    if accelerator.is_main_process:
        print(memory.text(accelerator.device), flush=True)  # into the job's log
    with quoted_when_short(memory, accelerator.device):
        standing = train(learner, ground, config, job.progress, Checkpoints(job.work, job.identity()))
    trained = policy.merged()
    weights = whole_weights(trained, keep=accelerator.is_main_process) if config.shard else None
    if not accelerator.is_main_process:
        return {}
    save_language_model(trained, ground.actors.tokenizer, job.output / "model", weights)
    write_metrics(job.output / "metrics.jsonl", standing.metrics)
    write_metrics(job.output / "alarms.jsonl", [alarm._asdict() for alarm in standing.alarms])
    write_samples(job.output / "samples.parquet", standing.samples, standing.best)
    return {
        **_gains(standing),
        "updates": standing.updates,
        "episodes": standing.updates * config.rollout_batch_size,
        "steps_skipped": learner.steps_skipped,
        "alarms": len({alarm.monitor for alarm in standing.alarms}),
        "prompts_cut": ground.prompts.cut,
        "memory_estimate_gib": round(memory.total(accelerator.device) / GIB, 3),
        **ground.counts,
    }


def train(learner: Learner, ground: Ground, config: PPOConfig, progress: Progress, checkpoints: Checkpoints) -> Standing:
    """Train the learner's policy in place; it ends with the weights of the best update, or of the last one without validation."""
    standing = _resume(learner, config, checkpoints, progress)
    if standing.updates == 0 and not standing.metrics:
        standing.metrics.append({"update": 0, **_validate(learner, ground, standing, config)})
    while standing.updates < config.updates and not standing.is_stopped:
        update, started = standing.updates, time.monotonic()

        # 1. Rollout: the policy answers, the other models say what they think of it.
        rollout = _roll_out(ground, config, update)
        rolled_out = time.monotonic()
        kl = float(mean_kl(rollout))
        if kl > config.kl_stop:
            if update == 0 and standing.best.at is None:
                raise _starts_beyond(kl, config)
            progress.note(f"stopped after {update} updates: a KL of {kl:.1f} nats per response is above kl_stop")
            break

        # 2. Rewards and advantages.
        lesson = make_lesson(rollout, config, standing.kl.kl_coef)

        # 3. Epochs of minibatches of microbatches.
        steps = learn(learner, rollout, lesson, config, update, ground.mix)

        # 4. Metrics, and the price of KL for the next update.
        figures = update_figures(rollout, lesson, steps)
        row: Metrics = {"update": update + 1, **figures, "kl_coef": standing.kl.kl_coef, "steps_skipped": learner.steps_skipped}
        if update >= config.value_warmup:  # before, the policy is the reference, and its KL of 0 says nothing
            standing.kl.update(kl, len(rollout.responses))
        standing.updates = update + 1

        # 5. Validation: is this the best policy so far?
        learnt = time.monotonic()
        if standing.updates % config.validation_every == 0 or standing.updates == config.updates:
            row |= _validate(learner, ground, standing, config)
        standing.metrics.append(row)

        # 6. Monitors: does the policy go wrong?
        _watch(standing, config, progress)

        # 7. Checkpoint.
        if standing.updates % config.checkpoint_every == 0:
            _save(learner, standing, checkpoints)
        phases = {"rollout_seconds": rolled_out - started, "learn_seconds": learnt - rolled_out, "rest_seconds": time.monotonic() - learnt}
        progress.report(standing.updates, config.updates, score=figures["score"], kl_k1=kl, **phases)
    if "validation_judge_score" not in standing.metrics[-1]:  # training was stopped between two validations
        standing.metrics[-1] |= _validate(learner, ground, standing, config)
    standing.best.give_to(learner.policy.model)
    return standing


def _roll_out(ground: Ground, config: PPOConfig, update: int) -> Rollout:
    """The rollout of an update (counted from 0): prompts and random numbers depend on the seed and the update alone.

    The samples of a prompt stand together.
    """
    size, each = config.rollout_batch_size, config.samples_per_prompt
    rows = [row for row in deal(len(ground.prompts.ids), size // each, update, config.seed, "prompts") for _ in range(each)]
    batch = EncodedPrompts([ground.prompts.prompts[i] for i in rows], [ground.prompts.ids[i] for i in rows], cut=0)
    seeds = [derive_seed(config.seed, "rollout", update, place) for place in range(size)]
    return collect_rollout(ground.actors, ground.scorer, batch, config.sampling, seeds=seeds, microbatch_size=config.microbatch_size)


def _validate(learner: Learner, ground: Ground, standing: Standing, config: PPOConfig) -> Metrics:
    """Score the policy on the validation prompts, with the same random numbers every time, and keep it if it is the best so far."""
    if ground.validation is None:
        return {}
    rollout = sample_validation(ground.actors, ground.scorer, ground.validation, config, microbatch_size=config.microbatch_size)
    messages = [prompt.messages for prompt in ground.validation.prompts]
    judged = score_together(ground.judge, messages, rollout.text, name="the held-out judge")
    found = Validation(float(judged.mean()), float(rollout.scores.mean()), float(mean_kl(rollout)))
    standing.best.consider(learner.policy.model, standing.updates, found.judge_score, kl_k1=found.kl_k1, budget=config.kl_stop)
    standing.samples += sample_rows(standing.updates, ground.validation, rollout, judged)
    return {f"validation_{name}": value for name, value in found._asdict().items()}


def _watch(standing: Standing, config: PPOConfig, progress: Progress) -> None:
    """Keep the alarms of the last row of metrics; one that was not already there with the row before is told."""
    raised = alarms(standing.metrics, config.monitors)
    told = {alarm.monitor for alarm in standing.alarms if alarm.update == standing.updates - 1}
    for alarm in raised:
        if alarm.monitor not in told:
            progress.note(alarm.message)
    standing.alarms += raised


def _parts(learner: Learner, standing: Standing) -> dict[str, Part]:
    parts: dict[str, Part] = {"best": standing.best.weights}
    for name, trainee in learner.trainees.items():
        parts |= {name: trainee.model, f"{name}_optimizer": trainee.optimizer}
        if trainee.head is not None:
            parts[f"{name}_head"] = trainee.head
    return parts


def _save(learner: Learner, standing: Standing, checkpoints: Checkpoints) -> None:
    state = {
        "kl_coef": standing.kl.kl_coef,
        "best": standing.best.state(),
        "metrics": standing.metrics,
        "alarms": standing.alarms,
        "samples": standing.samples,
        "guards": {name: [trainee.guard.skipped, trainee.guard.in_a_row] for name, trainee in learner.trainees.items()},
    }
    checkpoints.save(standing.updates, _parts(learner, standing), state)


def _resume(learner: Learner, config: PPOConfig, checkpoints: Checkpoints, progress: Progress) -> Standing:
    """Where the last checkpoint stands, with its tensors put back into the learner; the beginning without one."""
    standing = Standing(
        AdaptiveKLController(config.kl_coef, config.kl_target if config.kl_control == "adaptive" else None, config.kl_horizon)
    )
    found = checkpoints.restore(_parts(learner, standing))
    if found is None:
        return standing
    standing.updates, state = found
    standing.kl.kl_coef = state["kl_coef"]
    standing.best.restore(state["best"])
    standing.metrics, standing.samples = state["metrics"], state["samples"]
    standing.alarms = [Alarm(*alarm) for alarm in state["alarms"]]
    for name, trainee in learner.trainees.items():
        trainee.guard.skipped, trainee.guard.in_a_row = state["guards"][name]
    progress.note(f"going on from the checkpoint of update {standing.updates}")
    return standing


def _starts_beyond(kl: float, config: PPOConfig) -> RecipeError:
    """The start, a champion, is not within the budget: it cannot be kept, and nothing was learned."""
    return RecipeError(
        f"the policy that training starts from is at a KL of {kl:.1f} nats per response from the reference, above policy.kl_stop",
        where=f"policy.kl_stop = {config.kl_stop:g}",
        remedy='raise it, or start from the base model (policy.start = "base_model")',
    )


def _gains(standing: Standing) -> dict[str, float | int | None]:
    """What training gained, from its start to the policy that was kept, on the validation prompts or, without any, in rollouts."""
    rows = {row["update"]: row for row in standing.metrics}
    if standing.best.at is None:  # the row before the first update is of validation prompts, and has no rollout's figures
        first, last = standing.metrics[1], standing.metrics[-1]
        return {"best_update": standing.updates, "kl": last["kl_k1"], "score_gain": _difference(last, first, "score")}
    base, best = rows[0], rows[standing.best.at]
    return {
        "best_update": standing.best.at,
        "kl": best["validation_kl_k1"],
        "score_gain": _difference(best, base, "validation_score"),
        "judge_gain": _difference(best, base, "validation_judge_score"),
    }


def _difference(row: Metrics, base: Metrics, name: str) -> float | None:
    after, before = row[name], base[name]
    return None if after is None or before is None else after - before

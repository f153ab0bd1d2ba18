"""The learning stages: the base model, the reward model, the policy and its evaluation, each run as a worker process."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel

from data_contracts.artifact_store import SHORT, Artifact, Headline, Made
from data_contracts.code_version import code_version, plugin_version
from data_contracts.home import Home
from data_contracts.manifest import Identity, library_versions, pinned_config
from models.config_parts import functions_of
from models.configs import EvaluationConfig, RewardModelConfig
from models.jobs import JOBS
from models.policy_configs import DPOConfig, PPOConfig, SFTConfig
from tasks.learning.machines import HelpedError, group_of_machines
from tasks.learning.own_files import provide_files
from tasks.learning.worker import run_job, turn
from tasks.progress import StageProgress, emit
from tasks.stage import stage

LIBRARIES = ("torch", "transformers", "accelerate", "tokenizers", "numpy")
"""Their versions decide what a learning stage makes."""
LORA_LIBRARIES = ("peft",)
"""The same, where LoRA is used."""


class NotMadeError(Exception):
    """What was only looked for would have to be learned."""


_only_what_is_made: ContextVar[bool] = ContextVar("only_what_is_made", default=False)


@contextmanager
def only_what_is_made() -> Iterator[None]:
    """Learn nothing while the block runs: a stage gives what was made before, or raises `NotMadeError`."""
    token = _only_what_is_made.set(True)
    try:
        yield
    finally:
        _only_what_is_made.reset(token)


def make_learned(
    home: Home,
    kind: str,
    job: str,
    config: BaseModel,
    inputs: Mapping[str, Artifact | None],
    libraries: tuple[str, ...] = LIBRARIES,
) -> Made:
    """The artifact of a learning job: the one that is there, or one made by `python -m models JOB` in a process of its own.

    The job's checkpoints stand in `work/` under the artifact's id until it is published, so a job that was killed goes on
    from its last checkpoint. It writes straight into the unpublished artifact; its log goes to `logs/`.

    Args:
        home: the installation.
        kind: kind of the artifact.
        job: name of the job, a module of `models`.
        config: the job's configuration.
        inputs: input artifacts by role; None for one that is absent.
        libraries: those whose versions decide the result.

    Raises:
        HelpedError: this machine helped another one, which has the artifact (see `tasks.learning.machines`).
    """
    present = {role: artifact for role, artifact in inputs.items() if artifact is not None}
    identity = Identity(
        kind=kind,
        code_version="-".join([code_version(JOBS[job].module), *plugin_versions(config)]),
        libraries=library_versions(libraries + (LORA_LIBRARIES if getattr(config, "lora", None) else ())),
        config=without_folders(pinned_config(config)),
        inputs=tuple(artifact.manifest.as_input(role) for role, artifact in present.items()),
    )
    work = home.work / identity.id[:SHORT]
    group, processes = group_of_machines(), getattr(config, "processes", 1)
    machine = f"-machine-{group.rank + 1}" if group and group.helps else ""
    log = home.logs / f"{kind}-{identity.id[:SHORT]}{machine}.log"

    def learn(output: Path, work: Path) -> Headline:
        paths = {role: artifact.path for role, artifact in present.items()}
        return run_job(job, config, paths, output, work, log, processes=processes, group=group, on_progress=_forward)

    if machine:
        home.work.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f"{machine[1:]}-", dir=home.work) as aside:
            learn(Path(aside, "output"), Path(aside, "work"))
        raise HelpedError(kind)
    if _only_what_is_made.get() and not home.artifacts.holds(kind, identity.id):
        raise NotMadeError(kind)
    with turn(work):
        made = home.artifacts.make(identity, partial(learn, work=work))
        shutil.rmtree(work, ignore_errors=True)
    return made


def plugin_versions(config: BaseModel) -> list[str]:
    """The versions of the functions that a config names by import path."""
    return [plugin_version(one.module, one.place) for one in functions_of(config)]


def without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """A pinned config without where functions stand on this machine: their source counts, and not their place."""
    kept = {name: value for name, value in config.items() if name != "folder"}
    return kept | ({"rewards": [without_folders(term) for term in config["rewards"]]} if "rewards" in config else {})


def _forward(event: Mapping[str, object]) -> None:
    figures = {name: value for name, value in event.items() if name not in ("event", "done", "total", "time")}
    emit(StageProgress(int(str(event["done"])), int(str(event["total"])), figures))


def train_reward_model(home: Home, config: RewardModelConfig, *, base_model: Artifact, preferences: Artifact) -> Made:
    """A reward model from the preferences of one split; of the split `judge`, it is the held-out judge."""
    return make_learned(home, "reward_model", "train_reward_model", config, {"base_model": base_model, "preferences": preferences})


def train_sft(home: Home, config: SFTConfig, *, base_model: Artifact, preferences: Artifact) -> Made:
    """The policy's start from demonstrations: a file's, or the preferences' chosen responses. It is the reference of what follows."""
    files = config.demonstrations and provide_files(home, "demonstrations", [config.demonstrations], "sft.demonstrations")
    job = config.model_copy(update={"demonstrations": None})  # the file's content counts, and not its place
    inputs = {"base_model": base_model, "preferences": preferences, "demonstrations": files or None}
    return make_learned(home, "sft_model", "train_sft", job, inputs)


def train_policy(
    home: Home,
    config: PPOConfig | DPOConfig,
    *,
    base_model: Artifact,
    reward_model: Artifact,
    judge: Artifact,
    prompts: Artifact,
    corpus: Artifact | None = None,
    start: Artifact | None = None,
) -> Made:
    """A policy by PPO, or a relative, against the reward model, or by DPO from the preferences that `prompts` come from.

    The held-out judge chooses among its updates. The simulated corpus is an input where its pretraining loss is mixed in, and a champion
    where the policy starts from it.
    """
    if isinstance(config, DPOConfig):
        return make_learned(home, "policy", "train_dpo", config, {"base_model": base_model, "judge": judge, "prompts": prompts})
    rewarded: dict[str, Artifact | None] = {"reward_model": reward_model} if config.needs_reward_model else {}
    inputs = {"base_model": base_model, **rewarded, "judge": judge, "prompts": prompts, "start": start}
    if config.prompt_files:
        inputs["prompt_files"] = provide_files(home, "prompt_files", config.prompt_files, "policy.prompt_files")
    if config.ptx:
        inputs["corpus"] = provide_files(home, "corpus", [config.ptx.corpus], "policy.ptx.corpus") if config.ptx.corpus else corpus
    ptx = config.ptx and config.ptx.model_copy(update={"corpus": None})
    job = config.model_copy(update={"prompt_files": (), "ptx": ptx})  # the files' content counts, and not their place
    return make_learned(home, "policy", "train_policy", job, inputs)


def evaluate_policy(
    home: Home,
    config: EvaluationConfig,
    *,
    policy: Artifact,
    base_model: Artifact,
    champion: Artifact | None,
    champion_reward_model: Artifact | None,
    reward_model: Artifact,
    judge: Artifact,
    prompts: Artifact,
    held_out_texts: Artifact | None = None,
) -> Made:
    """A policy's responses to held-out prompts, beside those of the base model and of the champion.

    With the reward model that the champion learned through, the two reward models are compared, too; with held-out texts it
    is measured what the policy has forgotten.
    """
    judges = {"reward_model": reward_model, "judge": judge, "champion_reward_model": champion_reward_model}
    inputs = {"policy": policy, "base_model": base_model, "champion": champion, **judges, "prompts": prompts}
    inputs["held_out_texts"] = held_out_texts
    return make_learned(home, "evaluation", "evaluate_policy", config, inputs)


reward_model_stage = stage("reward model")(train_reward_model)
sft_stage = stage("supervised fine-tuning")(train_sft)
policy_stage = stage("policy")(train_policy)
evaluation_stage = stage("evaluation")(evaluate_policy)

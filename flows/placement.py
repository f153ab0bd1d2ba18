"""Where a stage runs, and for how long: in the night's own process, or on a machine for learning, through a deployment there."""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, Field, PositiveFloat

from data_contracts.errors import StageError
from data_contracts.home import Home
from flows.deployments.elsewhere import Elsewhere, learns
from tasks.learning.training import NotMadeError, only_what_is_made
from tasks.stage import StageConfig, StageResult

LimitedStage = Literal[
    "base model",
    "simulated responses",
    "ingest",
    "duplicates",
    "quality",
    "aggregation",
    "reward backbone",
    "reward model",
    "held-out judge",
    "supervised fine-tuning",
    "policy",
    "evaluation",
    "judges",
    "measures",
]
"""The stages whose time grows with the data, the model, or somebody else's code."""
DividedStage = Literal["reward model", "held-out judge", "policy"]
"""The stages that several processes may do together."""
SEVERAL = {"judge": "judges", "function": "measures", "measure": "measures"}
"""What each of several stages is limited as, by the name of their task."""


class RunConfig(StageConfig):
    """Where the stages run, and how long they may take; nothing here changes what they make."""

    learning: str = Field(
        default="",
        pattern=r"^([^/]+/[^/]+)?$",
        description="deployment through which the learning stages run on other machines, such as `learning/gpu`; by default they run in "
        "the night's own process",
    )
    worker_wait: PositiveFloat = Field(
        default=720.0, description="minutes that a learning stage waits for a worker of that deployment before the night fails"
    )
    machines: dict[DividedStage, Annotated[int, Field(ge=2)]] = Field(
        default_factory=dict,
        description="machines among which the `processes` of a stage are divided, by stage, as `{ policy = 2 }`: each is a run of the "
        "deployment in `learning` by a worker of its own",
    )
    time_limits: dict[LimitedStage, PositiveFloat] = Field(
        default_factory=dict,
        description="minutes after which a stage is ended and the night fails, by stage, as `{ policy = 480 }`; "
        "`judges` and `measures` limit each one of them",
    )


def run_stage(
    run: RunConfig, stage: Callable[..., StageResult], label: str, home: Home, config: BaseModel, inputs: Mapping[str, StageResult | None]
) -> StageResult:
    """Run a stage where it belongs.

    Args:
        run: where, and how long.
        stage: a stage's task.
        label: what the stage is called tonight.
        home: the installation.
        config: the stage's configuration.
        inputs: what it starts from, by role.

    Raises:
        StageError: it took longer than its limit.
    """
    limited = SEVERAL.get(stage.name, label)  # type: ignore[attr-defined]
    limit = run.time_limits.get(limited)  # type: ignore[call-overload]
    try:
        if run.learning and learns(stage, config) and not _is_made(stage, home, config, inputs):
            machines = run.machines.get(label, 1)  # type: ignore[call-overload]
            result = Elsewhere(run.learning, run.worker_wait, limit, machines).run(stage, label, home, config, inputs)
        else:
            seconds = limit and limit * 60
            task = stage.with_options(task_run_name=label, timeout_seconds=seconds)  # type: ignore[attr-defined]
            result = task(str(home.root), config, **inputs)
    except TimeoutError as error:
        if limit is None:
            raise
        remedy = f"run again, it goes on from its last checkpoint; or raise run.time_limits.{limited!r}"
        raise StageError(f"{label} took longer than its limit of {limit:g} minutes", remedy=remedy) from error
    return result.model_copy(update={"stage": label})


def _is_made(stage: Callable[..., StageResult], home: Home, config: BaseModel, inputs: Mapping[str, StageResult | None]) -> bool:
    """Whether these very versions have made it already: then nobody is asked, and a night with nothing new takes seconds."""
    with only_what_is_made():
        try:
            stage.fn(str(home.root), config, **inputs)  # type: ignore[attr-defined]
        except NotMadeError:
            return False
    return True

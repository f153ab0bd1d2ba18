"""The flow `learning`: one learning stage, run where the GPUs are, for a night that runs elsewhere."""

from typing import Any, NamedTuple

from prefect import flow
from prefect.artifacts import Artifact
from pydantic import TypeAdapter

from data_contracts.errors import OvernightError
from flows.deployments.allowed import refuse_what_is_not_allowed
from flows.deployments.elsewhere import REPLY, LearningStage, reply_of
from flows.deployments.meeting import group_of
from flows.deployments.place import Place
from flows.deployments.run_page import RunPage
from flows.recipe import PolicyConfig
from models.configs import EvaluationConfig, RewardModelConfig
from models.measure_configs import FunctionMeasure, ModelJudge
from models.policy_configs import SFTConfig
from tasks.learning.base_model import BaseModelConfig, base_model_stage
from tasks.learning.judges import judge_stage
from tasks.learning.machines import HelpedError, group_of_machines, learning_in
from tasks.learning.measures import function_stage
from tasks.learning.training import evaluation_stage, policy_stage, reward_model_stage, sft_stage
from tasks.progress import StageStarted, emit, listening
from tasks.simulation.stages import SimulationConfig, simulated_responses_stage
from tasks.stage import StageResult


class Learning(NamedTuple):
    """A learning stage's task and the type of its configuration."""

    task: Any
    config: Any


STAGES: dict[LearningStage, Learning] = {
    "base model": Learning(base_model_stage, BaseModelConfig),
    "simulated responses": Learning(simulated_responses_stage, SimulationConfig),
    "reward model": Learning(reward_model_stage, RewardModelConfig),
    "supervised fine-tuning": Learning(sft_stage, SFTConfig),
    "policy": Learning(policy_stage, PolicyConfig),
    "evaluation": Learning(evaluation_stage, EvaluationConfig),
    "judge": Learning(judge_stage, ModelJudge),
    "function": Learning(function_stage, FunctionMeasure),
}


@flow(name="learning")
def learning(
    stage: LearningStage,
    config: dict[str, Any],
    inputs: dict[str, str | None],
    group: dict[str, Any] | None = None,
) -> None:
    """Run one learning stage on this machine and hand its result back to the night that asked for it; nights start this by themselves.

    Args:
        stage: name of the stage.
        config: its resolved configuration.
        inputs: ids of the artifacts that it starts from, by role.
        group: the machines that do it together, where there are several (`tasks.learning.machines`): how many, this one's rank, and where
            they meet, which the one that leads says itself.
    """
    place = Place.from_environment()
    try:
        with place.home.at_work(), listening(RunPage(place.home, "learning")), learning_in(group_of(group)):
            result = _run(place, stage, config, inputs)
    except HelpedError:
        return
    except OvernightError as error:
        _hand_back(error)
        raise
    _hand_back(result)


def _run(place: Place, name: LearningStage, config: dict[str, Any], inputs: dict[str, str | None]) -> StageResult:
    """The stage itself, as the night would run it in its own process, if its configuration names nothing that it may not."""
    of, artifacts = STAGES[name], place.home.artifacts
    settings = TypeAdapter(of.config).validate_python(config)
    refuse_what_is_not_allowed(place, settings)
    given = {role: id_ and StageResult.of(role, artifacts.open(id_), reused=True) for role, id_ in inputs.items()}
    emit(StageStarted(name))
    group = group_of_machines()
    task = of.task.fn if group and group.helps else of.task  # what one that helps leaves by is no error of a task
    result: StageResult = task(str(place.home.root), settings, **given)
    emit(result.ended())
    return result


def _hand_back(outcome: StageResult | OvernightError) -> None:
    Artifact(type=REPLY, description="what the stage gave, for the night that asked for it", data=reply_of(outcome)).create()

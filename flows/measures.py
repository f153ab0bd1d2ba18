"""What else a night measures of the evaluation's responses: by each judge and measure of the recipe, a stage of its own."""

from flows.night import Night
from models.measure_configs import ModelJudge
from tasks.learning.base_model import BaseModelConfig, base_model_stage
from tasks.learning.judges import VERDICTS, judge_stage
from tasks.learning.measures import MEASUREMENT, function_stage, own_measure_stage
from tasks.stage import StageResult


def measure(night: Night, evaluation: StageResult) -> dict[str, StageResult]:
    """What every judge and measure of the recipe found, by role."""
    measures, found = night.recipe.measures, {}
    for judge in measures.judges:
        model = None
        if isinstance(judge, ModelJudge):
            source = BaseModelConfig(source=judge.model, revision=judge.revision)
            model = night.run(base_model_stage, source, f"model of judge {judge.name}")
        found[f"{VERDICTS}_{judge.name}"] = night.run(judge_stage, judge, f"judge {judge.name}", evaluation=evaluation, model=model)
    for function in measures.functions:
        found[f"{MEASUREMENT}_by_{function.name}"] = night.run(function_stage, function, f"measure {function.name}", evaluation=evaluation)
    for name, config in measures.own.items():
        found[f"{MEASUREMENT}_{name}"] = night.run(own_measure_stage, config, f"measure of {name}", evaluation=evaluation)
    return found

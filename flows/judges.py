"""The judges of a night: each is asked about the evaluation's responses, a local model first made an artifact."""

from flows.night import Night
from models.measure_configs import ModelJudge
from tasks.learning.base_model import BaseModelConfig, base_model_stage
from tasks.learning.judges import VERDICTS, judge_stage
from tasks.stage import StageResult


def ask_judges(night: Night, evaluation: StageResult) -> dict[str, StageResult]:
    """The verdicts of every judge of the recipe, by role."""
    found = {}
    for judge in night.recipe.measures.judges:
        model = None
        if isinstance(judge, ModelJudge):
            source = BaseModelConfig(source=judge.model, revision=judge.revision)
            model = night.run(base_model_stage, source, f"model of judge {judge.name}")
        found[f"{VERDICTS}_{judge.name}"] = night.run(judge_stage, judge, f"judge {judge.name}", evaluation=evaluation, model=model)
    return found

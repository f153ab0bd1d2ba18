"""Job `measure_by_function`: a function of one's own scores the responses of an evaluation."""

from collections.abc import Sequence

from data_contracts.policy_figures import BY
from models.evaluation.measures.measuring import Measured, Row, run_measure
from models.job import Headline, Job
from models.measure_configs import FunctionMeasure
from models.own_functions import load_function, score_by
from models.ppo.rewards.terms import certain
from models.ppo.scoring import score_responses

SCORE = "score"


def run(job: Job[FunctionMeasure]) -> Headline:
    """Score with the function.

    Raises:
        RecipeError: it cannot be imported.
        StageError: it failed, or gave something else than a finite number for each response.
    """
    title = f"the measure {job.config.name} ({job.config.function})"
    function = load_function(job.config, title, "measures.functions")

    def measure(rows: Sequence[Row]) -> list[Measured]:
        prompts, responses = [row["prompt"] for row in rows], [row["response"] for row in rows]
        scored = score_responses(lambda p, r: certain(score_by(function, title, p, r)), prompts, responses, name=title)
        return [Measured({SCORE: score}) for score in scored.score.tolist()]

    return run_measure(job, measure, by=f"{BY}{job.config.name}")

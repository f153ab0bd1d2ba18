"""Job `judge_by_endpoint`: a model behind an endpoint says which of two responses is the better one."""

import os

from data_contracts.errors import RecipeError
from models.evaluation.judges.endpoint import Endpoint
from models.evaluation.judges.judging import judged
from models.job import Headline, Job
from models.measure_configs import EndpointJudge


def run(job: Job[EndpointJudge]) -> Headline:
    """Ask about the responses of the input `evaluation`."""
    return judged(job, Endpoint(job.config, _key(job.config.key_variable)).ask)


def _key(variable: str) -> str:
    """The key in an environment variable; empty where none is named."""
    key = os.environ.get(variable, "").strip() if variable else ""
    if variable and not key:
        raise RecipeError(
            f"the environment variable {variable} holds no key", remedy="set it where the night runs, or correct key_variable of the judge"
        )
    return key

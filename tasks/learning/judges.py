"""The judges of a recipe, each a stage of its own: what it said of the evaluation's responses is kept, and never asked for again."""

from data_contracts.artifact_store import Artifact, Made
from data_contracts.home import Home
from models.measure_configs import EndpointJudge, ModelJudge
from tasks.learning.training import LIBRARIES, make_learned
from tasks.stage import stage

VERDICTS = "verdicts"


def ask_judge(home: Home, config: ModelJudge | EndpointJudge, *, evaluation: Artifact, model: Artifact | None = None) -> Made:
    """The verdicts of one judge on the responses of an evaluation; `model` is a local one's.

    What an endpoint answers is no function of what it is asked: its verdicts stand as they were given once.
    """
    if isinstance(config, EndpointJudge):
        return make_learned(home, VERDICTS, "judge_by_endpoint", config, {"evaluation": evaluation}, ())
    job = config.model_copy(update={"model": "", "revision": ""})  # the model's content counts, and not its place
    return make_learned(home, VERDICTS, "judge_by_model", job, {"evaluation": evaluation, "model": model}, LIBRARIES)


judge_stage = stage("judge")(ask_judge)

"""The measures of a recipe, each a stage of its own: what it found of the evaluation's responses, one by one and as figures."""

from data_contracts.artifact_store import Artifact, Made
from data_contracts.home import Home
from models.measure_configs import CodeMeasure, FunctionMeasure, RefusalMeasure
from tasks.learning.training import LIBRARIES, make_learned
from tasks.stage import stage

MEASUREMENT = "measurement"


def measure_by_function(home: Home, config: FunctionMeasure, *, evaluation: Artifact) -> Made:
    """What a function of one's own says of the responses of an evaluation; its source counts, as a reward function's does."""
    return make_learned(home, MEASUREMENT, "measure_by_function", config, {"evaluation": evaluation}, LIBRARIES)


def measure_responses(home: Home, config: RefusalMeasure | CodeMeasure, *, evaluation: Artifact) -> Made:
    """What one of the project's own measures says of the responses of an evaluation."""
    return make_learned(home, MEASUREMENT, JOB_OF[type(config)], config, {"evaluation": evaluation}, LIBRARIES_OF[type(config)])


JOB_OF = {RefusalMeasure: "measure_refusal", CodeMeasure: "measure_code"}
LIBRARIES_OF = {RefusalMeasure: ("numpy", "pyarrow"), CodeMeasure: ("markdown-it-py", "numpy", "pyarrow")}
function_stage = stage("function")(measure_by_function)
own_measure_stage = stage("measure")(measure_responses)

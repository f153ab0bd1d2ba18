"""What a learning run hands back is what the night gets: a result, the stage's own error, or how the run ended."""

import json
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Crashed

from data_contracts import errors
from data_contracts.errors import OvernightError, StageError
from flows.deployments.elsewhere import _reply, learns, reply_of
from tasks.learning.base_model import BaseModelConfig, base_model_stage
from tasks.learning.training import evaluation_stage, policy_stage, reward_model_stage
from tasks.quality.quality import QualityConfig, quality_stage
from tasks.stage import StageResult

RESULT = StageResult(stage="policy", kind="policy", artifact_id="ab", digest="cd", reused=False, headline={"kl": 0.1}, seconds=1.5)
RUN = FlowRun(id=uuid4(), flow_id=uuid4(), name="policy", state=Crashed(message="the process was killed"))


class Server:
    """Holds what was handed back, as JSON in a text: so Prefect's server gives it."""

    def __init__(self, *replies: dict[str, Any]) -> None:
        self.replies = [type("Artifact", (), {"data": json.dumps(reply)}) for reply in replies]

    def read_artifacts(self, **filters: object) -> list[Any]:
        return self.replies


def test_a_result_comes_back_as_it_was() -> None:
    assert _reply(Server(reply_of(RESULT)), RUN, "policy") == RESULT  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OvernightError)])
def test_an_error_comes_back_as_it_was(kind: type[OvernightError]) -> None:
    error = kind("the disk is full", where="there", remedy="free some space")
    with pytest.raises(kind) as caught:
        _reply(Server(reply_of(error)), RUN, "policy")  # type: ignore[arg-type]
    assert (type(caught.value), str(caught.value)) == (kind, str(error))


def test_a_run_that_handed_nothing_back_is_told_of_by_its_state() -> None:
    with pytest.raises(StageError, match=r"the run of policy ended as Crashed: the process was killed \[flow run policy"):
        _reply(Server(), RUN, "policy")  # type: ignore[arg-type]


def test_only_what_learns_runs_elsewhere() -> None:
    assert all(learns(stage, QualityConfig()) for stage in (reward_model_stage, policy_stage, evaluation_stage))
    assert not learns(quality_stage, QualityConfig())
    assert learns(base_model_stage, BaseModelConfig())
    assert not learns(base_model_stage, BaseModelConfig(source="/models/mine"))

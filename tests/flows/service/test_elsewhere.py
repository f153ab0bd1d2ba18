"""What a learning run hands back is what the night gets: a result, the stage's own error, or how the run ended."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from httpx import ConnectError
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Crashed, Failed

from data_contracts import errors
from data_contracts.errors import OvernightError, StageError
from data_contracts.home import Home
from flows.deployments import elsewhere
from flows.deployments.elsewhere import Elsewhere, _reply, learns, reply_of
from tasks.learning.base_model import BaseModelConfig, base_model_stage
from tasks.learning.training import evaluation_stage, policy_stage, reward_model_stage
from tasks.quality.quality import QualityConfig, quality_stage
from tasks.stage import StageResult

RESULT = StageResult(stage="policy", kind="policy", artifact_id="ab", digest="cd", reused=False, headline={"kl": 0.1}, seconds=1.5)
CRASHED, COMPLETED, FAILED = Crashed(message="the process was killed"), Completed(), Failed()
RUN = FlowRun(id=uuid4(), flow_id=uuid4(), name="policy", state=CRASHED)


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


@pytest.mark.parametrize(("ends", "runs"), [((CRASHED, COMPLETED), 2), ((CRASHED, CRASHED), 2), ((COMPLETED,), 1), ((FAILED,), 1)])
def test_a_run_whose_process_is_gone_is_begun_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: tuple[State[None], ...], runs: int
) -> None:
    begun: list[str] = []
    told = reply_of(RESULT if ends[-1] is COMPLETED else StageError("it is broken")) if ends[-1] is not CRASHED else None
    monkeypatch.setattr(elsewhere, "get_client", lambda **_: nullcontext(Server(*([told] if told else []))))
    monkeypatch.setattr(Elsewhere, "_start", lambda self, label, parameters: begun.append(label) or RUN)
    monkeypatch.setattr(Elsewhere, "_wait", lambda self, client, run, label: RUN.model_copy(update={"state": ends[len(begun) - 1]}))
    there = Elsewhere("learning/gpu", wait=1.0, limit=None)
    with nullcontext() if ends[-1] is COMPLETED else pytest.raises(StageError):
        assert there.run(policy_stage, "policy", Home(tmp_path), QualityConfig(), {}) == RESULT
    assert begun == ["policy"] * runs


def test_a_server_that_does_not_answer_is_asked_again_for_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str] = []

    def run_deployment(name: str, *, idempotency_key: str, **_: object) -> FlowRun:
        keys.append(idempotency_key)
        if len(keys) < 3:
            raise ConnectError("the server is started anew")
        return RUN

    monkeypatch.setattr(elsewhere, "run_deployment", run_deployment)
    monkeypatch.setattr(elsewhere, "POLL_SECONDS", 0.0)
    assert Elsewhere("learning/gpu", wait=1.0, limit=None)._start("policy", {}) is RUN
    assert (len(keys), len(set(keys))) == (3, 1)


def test_only_what_learns_runs_elsewhere() -> None:
    assert all(learns(stage, QualityConfig()) for stage in (reward_model_stage, policy_stage, evaluation_stage))
    assert not learns(quality_stage, QualityConfig())
    assert learns(base_model_stage, BaseModelConfig())
    assert not learns(base_model_stage, BaseModelConfig(source="/models/mine"))

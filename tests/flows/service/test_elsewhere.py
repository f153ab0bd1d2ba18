"""What a learning run hands back is what the night gets: a result, the stage's own error, or how the run ended."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx import ConnectError
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Completed, Crashed, Failed, Running, Scheduled

from data_contracts import errors
from data_contracts.errors import OvernightError, RecipeError, StageError
from data_contracts.home import Home
from flows.deployments import elsewhere
from flows.deployments.elsewhere import MEETING, REPLY, Elsewhere, _reply, learns, reply_of
from flows.recipe import load_recipe
from tasks.learning.base_model import BaseModelConfig, base_model_stage
from tasks.learning.machines import Group
from tasks.learning.training import evaluation_stage, policy_stage, reward_model_stage
from tasks.quality.quality import QualityConfig, quality_stage
from tasks.stage import StageResult

RESULT = StageResult(stage="policy", kind="policy", artifact_id="ab", digest="cd", reused=False, headline={"kl": 0.1}, seconds=1.5)
CRASHED, COMPLETED, FAILED, RUNNING = Crashed(message="the process was killed"), Completed(), Failed(), Running()
RUN = FlowRun(id=uuid4(), flow_id=uuid4(), name="policy", state=CRASHED)


class Server:
    """Holds what runs left behind, by type, as JSON in a text: so Prefect's server gives it. Runs are as `states` says, in turn."""

    def __init__(self, reply: dict[str, Any] | None = None, *, meeting: dict[str, Any] | None = None, states: Sequence[Any] = ()) -> None:
        self.left = {REPLY: reply, MEETING: meeting}
        self.begun: list[dict[str, Any]] = []
        self.states, self.cancelled = states, 0

    def read_artifacts(self, *, artifact_filter: Any, flow_run_filter: Any) -> list[Any]:
        (kind,) = artifact_filter.type.any_
        return [type("Artifact", (), {"data": json.dumps(self.left[kind])})] if self.left[kind] else []

    def start(self, label: str, parameters: dict[str, Any]) -> FlowRun:
        self.begun.append({"label": label, **parameters})
        return self.read_flow_run(UUID(int=len(self.begun)))

    def read_flow_run(self, run: UUID) -> FlowRun:
        return FlowRun(id=run, flow_id=UUID(int=0), name="policy", state=self.states[run.int - 1])

    def set_flow_run_state(self, run: UUID, state: Any) -> None:
        self.cancelled += 1


def through(monkeypatch: pytest.MonkeyPatch, server: Server, home: Path, machines: int = 1, wait: float = 1.0) -> StageResult:
    """The stage `policy`, run through a deployment of this server."""
    monkeypatch.setattr(elsewhere, "get_client", lambda **_: nullcontext(server))
    monkeypatch.setattr(Elsewhere, "_start", lambda self, label, parameters: server.start(label, parameters))
    for seconds in ("POLL_SECONDS", "ALONE_SECONDS"):
        monkeypatch.setattr(elsewhere, seconds, 0.0)
    there = Elsewhere("learning/gpu", wait=wait, limit=None, machines=machines)
    return there.run(policy_stage, "policy", Home(home), QualityConfig(), {})


def test_a_result_comes_back_as_it_was() -> None:
    assert _reply(Server(reply_of(RESULT)), [RUN], "policy") == RESULT  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OvernightError)])
def test_an_error_comes_back_as_it_was(kind: type[OvernightError]) -> None:
    error = kind("the disk is full", where="there", remedy="free some space")
    with pytest.raises(kind) as caught:
        _reply(Server(reply_of(error)), [RUN], "policy")  # type: ignore[arg-type]
    assert (type(caught.value), str(caught.value)) == (kind, str(error))


def test_a_run_that_handed_nothing_back_is_told_of_by_its_state() -> None:
    with pytest.raises(StageError, match=r"the run of policy ended as Crashed: the process was killed \[flow run policy"):
        _reply(Server(), [RUN], "policy")  # type: ignore[arg-type]


@pytest.mark.parametrize(("ends", "runs"), [((CRASHED, COMPLETED), 2), ((CRASHED, CRASHED), 2), ((COMPLETED,), 1), ((FAILED,), 1)])
def test_a_run_whose_process_is_gone_is_begun_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: tuple[State[None], ...], runs: int
) -> None:
    told = reply_of(RESULT if ends[-1] is COMPLETED else StageError("it is broken")) if ends[-1] is not CRASHED else None
    server = Server(told, states=ends)
    with nullcontext() if ends[-1] is COMPLETED else pytest.raises(StageError):
        assert through(monkeypatch, server, tmp_path) == RESULT
    assert [run["label"] for run in server.begun] == ["policy"] * runs
    assert all("group" not in run for run in server.begun)


def test_machines_meet_where_the_one_that_leads_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(reply_of(RESULT), meeting={"host": "10.0.0.7", "port": 4711}, states=[COMPLETED] * 3)
    assert through(monkeypatch, server, tmp_path, machines=3) == RESULT
    lead, *helpers = server.begun
    assert lead["group"] == {"machines": 3, "patience": 60}
    meeting = {"machines": 3, "patience": 60, "host": "10.0.0.7", "port": 4711}
    assert [(run["label"], run["group"]) for run in helpers] == [
        (f"policy, machine {rank + 1}", {**meeting, "rank": rank}) for rank in (1, 2)
    ]
    assert Group.model_validate(helpers[0]["group"]).rank == 1
    assert server.cancelled == 0


def test_a_lead_that_ends_before_it_says_where_to_meet_gets_no_helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(reply_of(StageError("it is broken")), states=[FAILED])
    with pytest.raises(StageError, match="it is broken"):
        through(monkeypatch, server, tmp_path, machines=2)
    assert len(server.begun) == 1


def test_a_result_counts_though_a_helper_crashed_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(reply_of(RESULT), meeting={"host": "10.0.0.7", "port": 4711}, states=(COMPLETED, CRASHED))
    assert through(monkeypatch, server, tmp_path, machines=2) == RESULT
    assert len(server.begun) == 2


def test_a_machine_that_never_begins_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(meeting={"host": "10.0.0.7", "port": 4711}, states=(RUNNING, Scheduled()))
    with pytest.raises(StageError, match=r"too few workers \(2 are needed\) began policy"):
        through(monkeypatch, server, tmp_path, machines=2, wait=0.0)
    assert server.cancelled == 2


@pytest.mark.parametrize("states", [(RUNNING, FAILED), (FAILED, RUNNING)])
def test_what_is_left_of_a_group_of_machines_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, states: tuple[Any, ...]) -> None:
    server = Server(meeting={"host": "10.0.0.7", "port": 4711}, states=states)
    with pytest.raises(
        StageError, match=rf"the run of policy ended as Failed \[flow run policy \(0+-0+-0+-0+-0+{1 + states.index(FAILED)}\)"
    ):
        through(monkeypatch, server, tmp_path, machines=2)
    assert server.cancelled == 1


def test_machines_divide_the_processes_of_a_stage_on_a_deployment() -> None:
    told = "run={learning='learning/gpu', machines={policy=2}}"
    assert load_recipe("built-in", overrides=(told, "policy.processes=4")).run.machines == {"policy": 2}
    for overrides, message in (
        ((told,), "1 processes of policy among 2"),
        (("run.machines={policy=2}", "policy.processes=4"), "needs run.learning"),
    ):
        with pytest.raises(RecipeError, match=message):
            load_recipe("built-in", overrides=overrides)


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

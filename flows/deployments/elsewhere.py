"""A learning stage run through its deployment: ids and configuration go there, a stage's result or its error comes back."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar, cast, get_args
from uuid import UUID, uuid4

from httpx import HTTPStatusError, TransportError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterType, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectException
from prefect.states import Cancelling
from pydantic import BaseModel

from data_contracts import errors
from data_contracts.errors import OvernightError, StageError
from data_contracts.home import Home
from models.measure_configs import EndpointJudge
from tasks.learning.base_model import BUILT_IN, BaseModelConfig
from tasks.stage import StageResult

T = TypeVar("T")
LearningStage = Literal[
    "base model", "simulated responses", "reward model", "supervised fine-tuning", "policy", "evaluation", "judge", "function"
]
REPLY, MEETING = "result", "meeting"
"""Types of the artifacts on the server by which a learning run hands its result or error back, and says where other machines meet it."""
POLL_SECONDS = 2.0
ATTEMPTS = 2
"""Runs that a stage gets: one whose process, worker or machine went is begun once more. A worker with the same home goes on from the last
checkpoint."""
ALONE_SECONDS = 60.0
"""What is left of a run on several machines gets so long to end by itself."""
OUTAGE_SECONDS = 300.0
"""A server that is started anew is waited for so long."""


def learns(stage: Callable[..., StageResult], config: BaseModel) -> bool:
    """Whether a stage learns, asks a local model or calls a function; a base model that is only copied or fetched does not."""
    here = isinstance(config, EndpointJudge) or (isinstance(config, BaseModelConfig) and config.source != BUILT_IN)
    return stage.name in get_args(LearningStage) and not here  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Elsewhere:
    """A deployment of the flow `learning`, and how long is waited for it."""

    deployment: str
    """Its name, as `learning/gpu`."""
    wait: float
    """Minutes until a worker must have begun."""
    limit: float | None
    """Minutes that the run may then take."""
    machines: int = 1
    """Workers that do it together, each by a run of its own; the first run leads, and its end is the stage's."""

    def run(
        self, stage: Callable[..., StageResult], label: str, home: Home, config: BaseModel, inputs: Mapping[str, StageResult | None]
    ) -> StageResult:
        """Run a stage there and wait for it; if the night ends before it, it is cancelled.

        Raises:
            OvernightError: the error that the stage raised there.
            StageError: the deployment is not there, no worker began, or the run ended otherwise.
            TimeoutError: it took longer than the limit.
        """
        parameters = {
            "stage": stage.name,  # type: ignore[attr-defined]
            "config": config.model_dump(mode="json"),
            "inputs": {role: result and result.artifact_id for role, result in inputs.items()},
        }
        with get_client(sync_client=True) as client:
            for _ in range(ATTEMPTS):
                with ExitStack() as left:
                    runs = [run.id for run in self._start_all(client, label, parameters, left)]
                    found = self._wait(client, runs, label)
                    if all(map(_is_over, found)):
                        left.pop_all()
                has_result = bool(found[0].state and found[0].state.is_completed())
                if has_result or not any(run.state and run.state.is_crashed() for run in found):
                    break
            result = _reply(client, found, label)
        home.refresh()  # what was made there may stand in a store
        return result

    def _start_all(self, client: SyncPrefectClient, label: str, parameters: dict[str, Any], left: ExitStack) -> Iterator[FlowRun]:
        """Begin the run, or one per machine, which meet where the first one says; left unended with the stack, they are cancelled."""
        group = {"machines": self.machines, "patience": int(self.wait * 60)}
        lead = self._start(label, parameters if self.machines == 1 else {**parameters, "group": group})
        left.callback(_cancel, client, lead.id)
        yield lead
        meeting = self._meeting(client, lead.id, label) if self.machines > 1 else {}
        for rank in range(1, self.machines) if meeting else ():
            helper = self._start(f"{label}, machine {rank + 1}", {**parameters, "group": {**group, **meeting, "rank": rank}})
            left.callback(_cancel, client, helper.id)
            yield helper

    def _meeting(self, client: SyncPrefectClient, lead: UUID, label: str) -> dict[str, Any]:
        """Where the machine that leads awaits the others, once it says so; nothing if it ended before."""
        self._wait(client, [lead], label, until=lambda: bool(_left_behind(client, lead, MEETING)))
        return _left_behind(client, lead, MEETING)

    def _start(self, label: str, parameters: dict[str, Any]) -> FlowRun:
        """Begin a run; a server that does not answer is asked again, and begins it once."""
        start = partial(
            run_deployment, self.deployment, parameters=parameters, flow_run_name=label, timeout=0, idempotency_key=str(uuid4())
        )
        try:
            return cast(FlowRun, _patiently(start))
        except (PrefectException, HTTPStatusError) as error:
            remedy = "deploy it (`prefect deploy --all`), or leave run.learning empty to learn in the night's own process"
            raise StageError(f"{label} cannot be run through the deployment {self.deployment}: {error}", remedy=remedy) from error

    def _wait(
        self, client: SyncPrefectClient, runs: Sequence[UUID], label: str, until: Callable[[], bool] = lambda: False
    ) -> list[FlowRun]:
        """The runs once all have ended, one that the others need ended a while ago, or what is waited for is there."""
        awaited, limit, alone = time.monotonic() + self.wait * 60, float("inf"), float("inf")
        found: list[FlowRun] = []
        while True:
            with suppress(TransportError):  # a server that is started anew
                found = [client.read_flow_run(run) for run in runs]
                if until() or all(map(_is_over, found)):
                    return found
                if all(run.state and not run.state.is_scheduled() and not run.state.is_pending() for run in found):
                    awaited, limit = float("inf"), min(limit, time.monotonic() + self.limit * 60 if self.limit else float("inf"))
                if _is_over(found[0]) or any(map(_ended_badly, found)):
                    alone = min(alone, time.monotonic() + ALONE_SECONDS)
            if time.monotonic() > alone:
                return found
            if time.monotonic() > limit:
                raise TimeoutError
            if time.monotonic() > awaited:
                few = f"too few workers ({self.machines} are needed)" if self.machines > 1 else "no worker"
                remedy = "start a worker for its pool (`prefect worker start --pool gpu`), or raise run.worker_wait"
                raise StageError(f"{few} began {label} through {self.deployment} within {self.wait:g} minutes", remedy=remedy)
            time.sleep(POLL_SECONDS)


def _patiently(ask: Callable[[], T]) -> T:
    """What the server answers; one that is started anew is asked again."""
    deadline = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            return ask()
        except TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)


def _is_over(run: FlowRun) -> bool:
    return bool(run.state and run.state.is_final())


def _ended_badly(run: FlowRun) -> bool:
    return bool(run.state and run.state.is_final() and not run.state.is_completed())


def _cancel(client: SyncPrefectClient, run: UUID) -> None:
    """Cancel a run that has not ended, as when the night that waits for it is cancelled itself."""
    if not _is_over(_patiently(partial(client.read_flow_run, run))):
        client.set_flow_run_state(run, Cancelling(message="what it was a part of ended"))


def reply_of(outcome: StageResult | OvernightError) -> dict[str, Any]:
    """A stage's result or error as it is handed back; Prefect makes JSON of it."""
    if isinstance(outcome, StageResult):
        return {"result": outcome.model_dump(mode="json")}
    return {"error": {"type": type(outcome).__name__, "what": outcome.what, "where": outcome.where, "remedy": outcome.remedy}}


def _reply(client: SyncPrefectClient, runs: Sequence[FlowRun], label: str) -> StageResult:
    """What the runs, the leading one first, handed back when the stage was over."""
    reply = _left_behind(client, runs[0].id, REPLY)
    if "result" in reply:
        return StageResult.model_validate(reply["result"])
    first = runs[0] if "error" in reply else next(filter(_ended_badly, runs), runs[0])
    others = [run for run in runs if run is not first and _ended_badly(run)]
    besides = "".join(f"; the run {run.name} ended as {_ending(client, run)}" for run in others)
    if "error" in reply:
        told = reply["error"]
        kind = getattr(errors, told["type"], StageError)
        raise kind(told["what"] + besides, where=told["where"], remedy=told["remedy"])
    remedy = "look at its page on the server, mend the cause and run again: it goes on from its last checkpoint"
    where = f"flow run {first.name} ({first.id})"
    raise StageError(f"the run of {label} ended as {_ending(client, first)}{besides}", where=where, remedy=remedy)


def _left_behind(client: SyncPrefectClient, run: UUID, kind: str) -> dict[str, Any]:
    """What a run left on the server as an artifact of a type, or nothing."""
    of_run, of_kind = FlowRunFilter(id=FlowRunFilterId(any_=[run])), ArtifactFilter(type=ArtifactFilterType(any_=[kind]))
    found = _patiently(partial(client.read_artifacts, artifact_filter=of_kind, flow_run_filter=of_run))
    return dict(json.loads(str(found[0].data))) if found else {}


def _ending(client: SyncPrefectClient, run: FlowRun) -> str:
    """How a run ended, in words."""
    if "error" in (reply := _left_behind(client, run.id, REPLY)):
        return str(reply["error"]["what"])
    state = run.state
    return f"{state.name}: {state.message}" if state and state.message else str(state and state.name)

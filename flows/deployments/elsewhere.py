"""A learning stage run through its deployment: ids and configuration go there, a stage's result or its error comes back."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args
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

LearningStage = Literal[
    "base model", "simulated responses", "reward model", "supervised fine-tuning", "policy", "evaluation", "judge", "function"
]
REPLY = "result"
"""Type of the artifact on the server by which a learning run hands its result or error back."""
POLL_SECONDS = 2.0
ATTEMPTS = 2
"""Runs that a stage gets: one whose process, worker or machine went is begun once more and goes on from its last checkpoint."""
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
                started = self._start(label, parameters)
                with _cancelled_if_left(client, started.id):
                    ended = self._wait(client, started.id, label)
                if not (ended.state and ended.state.is_crashed()):
                    break
            result = _reply(client, ended, label)
        home.refresh()  # what was made there may stand in a store
        return result

    def _start(self, label: str, parameters: dict[str, Any]) -> FlowRun:
        """Begin a run; a server that does not answer is asked again, and begins it once."""
        deadline, key = time.monotonic() + OUTAGE_SECONDS, str(uuid4())
        while True:
            try:
                run: Any = run_deployment(self.deployment, parameters=parameters, flow_run_name=label, timeout=0, idempotency_key=key)
                return cast(FlowRun, run)
            except (PrefectException, HTTPStatusError) as error:
                remedy = "deploy it (`prefect deploy --all`), or leave run.learning empty to learn in the night's own process"
                raise StageError(f"{label} cannot be run through the deployment {self.deployment}: {error}", remedy=remedy) from error
            except TransportError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)

    def _wait(self, client: SyncPrefectClient, run: UUID, label: str) -> FlowRun:
        """Look at the run until it has ended."""
        deadline, begun = time.monotonic() + self.wait * 60, False
        while True:
            with suppress(TransportError):  # a server that is started anew
                found = client.read_flow_run(run)
                if found.state and found.state.is_final():
                    return found
                if not begun and found.state and found.state.is_running():
                    begun, deadline = True, time.monotonic() + self.limit * 60 if self.limit else float("inf")
            if time.monotonic() > deadline and begun:
                raise TimeoutError
            if time.monotonic() > deadline:
                remedy = "start a worker for its pool (`prefect worker start --pool gpu`), or raise run.worker_wait"
                raise StageError(f"no worker began {label} through {self.deployment} within {self.wait:g} minutes", remedy=remedy)
            time.sleep(POLL_SECONDS)


@contextmanager
def _cancelled_if_left(client: SyncPrefectClient, run: UUID) -> Iterator[None]:
    """Cancel a run when the block is left by an error, as when the night that waits for it is cancelled itself."""
    try:
        yield
    except BaseException:
        state = client.read_flow_run(run).state
        if not (state and state.is_final()):
            client.set_flow_run_state(run, Cancelling(message="the night that waited for it ended"))
        raise


def reply_of(outcome: StageResult | OvernightError) -> dict[str, Any]:
    """A stage's result or error as it is handed back; Prefect makes JSON of it."""
    if isinstance(outcome, StageResult):
        return {"result": outcome.model_dump(mode="json")}
    return {"error": {"type": type(outcome).__name__, "what": outcome.what, "where": outcome.where, "remedy": outcome.remedy}}


def _reply(client: SyncPrefectClient, run: FlowRun, label: str) -> StageResult:
    """What a run that has ended handed back."""
    replies = client.read_artifacts(
        artifact_filter=ArtifactFilter(type=ArtifactFilterType(any_=[REPLY])),
        flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])),
    )
    reply = json.loads(str(replies[0].data)) if replies else {}
    if "result" in reply:
        return StageResult.model_validate(reply["result"])
    if "error" in reply:
        told = reply["error"]
        kind = getattr(errors, told["type"], StageError)
        raise kind(told["what"], where=told["where"], remedy=told["remedy"])
    state = run.state
    ended = f"{state.name}: {state.message}" if state and state.message else str(state and state.name)
    remedy = "look at its page on the server, mend the cause and run again: it goes on from its last checkpoint"
    raise StageError(f"the run of {label} ended as {ended}", where=f"flow run {run.name} ({run.id})", remedy=remedy)

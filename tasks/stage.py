"""How a stage becomes a Prefect task: artifacts are opened by id, and only ids and headline figures cross the boundary."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from data_contracts.artifact_store import Artifact, Made
from data_contracts.home import Home
from tasks.costs import Cost, metered
from tasks.progress import StageEnded


class StageConfig(BaseModel):
    """Base of every stage's configuration: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StageResult(BaseModel):
    """What a stage hands on: its artifact's id and the figures to show."""

    model_config = ConfigDict(frozen=True)

    stage: str
    kind: str
    artifact_id: str
    digest: str
    reused: bool
    headline: dict[str, str | int | float | bool | None]
    seconds: float
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    """See `tasks.costs`; None in records that were written before it was measured."""

    @classmethod
    def of(cls, stage: str, artifact: Artifact, *, reused: bool, cost: Cost | None = None) -> "StageResult":
        """The result of a stage that gave this artifact."""
        cost = cost or Cost()
        return cls(
            stage=stage,
            kind=artifact.kind,
            artifact_id=artifact.id,
            digest=artifact.digest,
            reused=reused,
            headline=artifact.manifest.headline,
            seconds=round(cost.seconds, 3),
            cpu_seconds=cost.cpu_seconds and round(cost.cpu_seconds, 3),
            peak_memory=cost.peak_memory,
        )

    def ended(self) -> StageEnded:
        """What those who listen are told of it."""
        return StageEnded(
            self.stage, self.reused, self.seconds, self.cpu_seconds, self.peak_memory, self.headline, self.kind, self.artifact_id
        )


def stage(name: str) -> Callable[[Callable[..., Made]], Callable[..., StageResult]]:
    """Make a Prefect task of a stage function: `quality_stage = stage("quality")(measure_quality)`.

    The function takes the home, its config and, by keyword, its input artifacts. The task takes the home's path, the same
    config and, for each input, the `StageResult` that made it (or None for an input that is absent).
    """

    def decorate(function: Callable[..., Made]) -> Callable[..., StageResult]:
        @wraps(function)
        def run(home: str, config: StageConfig, **inputs: StageResult | None) -> StageResult:
            with metered() as cost:
                where = Home(Path(home))
                artifacts = {role: result and where.artifacts.open(result.artifact_id) for role, result in inputs.items()}
                made = function(where, config, **artifacts)
            return StageResult.of(name, made.artifact, reused=made.reused, cost=cost)

        del run.__wrapped__  # Prefect would read the inner signature
        return task(name=name, cache_policy=NO_CACHE, persist_result=False)(run)

    return decorate

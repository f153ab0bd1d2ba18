"""A night's bookkeeping: what each stage gave, how the night ended, and the record that is kept of it."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, Field

from data_contracts.audit.build import rebuild_audit_database
from data_contracts.errors import OvernightError
from data_contracts.home import Home
from data_contracts.registry import Registry
from flows.recipe import Recipe
from tasks.progress import StageEnded, StageStarted, emit
from tasks.stage import StageResult

NOTHING_NEW = "nothing new"
INGEST = "ingest"


class NightRecord(BaseModel):
    """One night, as it is kept in `nights/`; one JSON file per night."""

    night: str = Field(description="UTC time at which the night began; names the file")
    recipe: str = Field(description="name of the recipe")
    outcome: str = Field(
        description="how it ended: `nothing new`, the registry's decision with the gate's verdict, or `failed in STAGE: REASON`"
    )
    seconds: float = Field(description="how long it took")
    stages: list[StageResult] = Field(description="what each stage gave, in order")
    report: str = Field(default="", description="path of the report")
    audit_database: str = Field(default="", description="path of the audit database")


@dataclass
class Night:
    """A night while it runs."""

    recipe: Recipe
    home: Home
    began: datetime
    results: dict[str, StageResult] = field(default_factory=dict)

    @classmethod
    def begin(cls, recipe: Recipe, home: Home) -> "Night":
        """Start the clock."""
        home.root.mkdir(parents=True, exist_ok=True)
        return cls(recipe, home, datetime.now(UTC))

    def run(self, stage: Callable[..., StageResult], config: BaseModel, name: str = "", /, **inputs: StageResult | None) -> StageResult:
        """Run one stage and keep what it gave.

        Args:
            stage: a stage's task.
            config: its configuration.
            name: what the stage is called tonight, where the same task serves twice.
            inputs: the results that it starts from, by role.
        """
        label = name or stage.name  # type: ignore[attr-defined]
        emit(StageStarted(label))
        try:
            result = stage(str(self.home.root), config, **inputs).model_copy(update={"stage": label})
        except (Exception, KeyboardInterrupt) as error:
            self._record_failure(label, error)
            raise
        self.results[label] = result
        emit(StageEnded(label, result.reused, result.seconds, result.headline))
        return result

    def champion_to_beat(self, policy: StageResult) -> StageResult | None:
        """The champion that a policy is compared with, or None on the first night."""
        entry = Registry(self.home.registry / self.recipe.registry.line).opponent_of(policy.digest)
        if entry is None:
            return None
        artifact = self.home.artifacts.open(entry.policy_id)
        return StageResult.of("champion", artifact, reused=True)

    def close(self) -> NightRecord:
        """Put the report in place, rebuild the audit database and keep the night's record."""
        report = self.home.artifacts.open(self.results["report"].artifact_id).file("report.html")
        shutil.copyfile(report, self.home.report)
        record = self.record(self._outcome(), report=self.home.report, audit_database=self.home.audit_database)
        rebuild_audit_database(self.home)
        return record

    def record(self, outcome: str, *, report: Path | None = None, audit_database: Path | None = None) -> NightRecord:
        """Write the night's record, whole or not at all."""
        record = NightRecord(
            night=f"{self.began:%Y-%m-%dT%H-%M-%S}.{self.began.microsecond:06d}Z",
            recipe=self.recipe.name,
            outcome=outcome,
            seconds=round((datetime.now(UTC) - self.began).total_seconds(), 1),
            stages=list(self.results.values()),
            report=str(report or ""),
            audit_database=str(audit_database or ""),
        )
        self.home.share.write(self.home.nights / f"{record.night}.json", record.model_dump_json(indent=2) + "\n")
        return record

    def _record_failure(self, stage: str, error: BaseException) -> None:
        """Keep a night that ends here, as far as the disk lets us; what failed is raised on in any case."""
        reason = error.what if isinstance(error, OvernightError) else f"{type(error).__name__}: {error}"
        outcome = f"interrupted in {stage}" if isinstance(error, KeyboardInterrupt) else f"failed in {stage}: {reason}"
        with suppress(Exception):  # a full disk, perhaps the very failure that is being recorded
            self.record(outcome.partition("\n")[0])
            rebuild_audit_database(self.home)  # what stopped the night is there to be audited, too

    def _outcome(self) -> str:
        """`nothing new` when no stage had anything to do (an ingest that only met known rows is nothing new either)."""
        if all(result.reused for name, result in self.results.items() if name != INGEST):
            return NOTHING_NEW
        gate, version = self.results["gate"], self.results["registry"]
        again = ", as before" if version.reused else ""
        return f"{version.headline['decision']}{again} (gate: {gate.headline['verdict']})"

"""A night's bookkeeping: what each stage gave, how the night ended, and the record that is kept of it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from data_contracts.artifact_store import SHORT
from data_contracts.audit.build import rebuild_audit_database
from data_contracts.errors import BusyError, OvernightError
from data_contracts.home import Home
from data_contracts.manifest import InputRef
from data_contracts.registry import Registry
from flows.placement import run_stage
from flows.recipe import Recipe
from flows.show import headline_text
from tasks.data_gate.data_gate import MESSAGE_FILE
from tasks.data_gate.judging import STOP
from tasks.decision.promotion import AWAITING, KEPT, PROMOTED
from tasks.decision.report import report_stage
from tasks.progress import NightEnded, StageStarted, costs_text, emit
from tasks.sources.places import files
from tasks.stage import StageResult

NOTHING_NEW = "nothing new"
STOPPED = "stopped by the data gate"
DATA_GATE = "data gate"
INGEST = "ingest"
APPROVAL = """The policy passed its gate and awaits a decision; the report shows the evidence. Whichever fits:
- overnight approve {version} --reason "…"
- overnight reject {version} --reason "…"
"""


class NightRecord(BaseModel):
    """One night, as it is kept in `nights/`; one JSON file per night."""

    night: str = Field(description="UTC time at which the night began; names the file")
    recipe: str = Field(description="name of the recipe")
    outcome: str = Field(
        description="how it ended: `nothing new`, perhaps with rows that were refused, the registry's decision with the gate's verdict, "
        "`awaiting approval (gate: pass)`, `stopped by the data gate: RULES`, `failed in STAGE: REASON`, or `interrupted in STAGE`"
    )
    advice: str = Field(default="", description="what to do about it, where a person has to do something")
    seconds: float = Field(description="how long it took")
    stages: list[StageResult] = Field(description="what each stage gave, in order")
    settings: dict[str, Any] = Field(
        default={}, description="what the recipe sets beside the defaults, with the seeds that follow from its own"
    )
    report: str = Field(default="", description="path of the report")
    audit_database: str = Field(default="", description="path of the audit database")

    @property
    def costs(self) -> str:
        """What it cost in words; processors and memory are its stages'."""
        used = [stage.cpu_seconds for stage in self.stages if stage.cpu_seconds is not None]
        held = [stage.peak_memory for stage in self.stages if stage.peak_memory is not None]
        return costs_text(self.seconds, sum(used) if used else None, max(held, default=None))

    @property
    def stopped(self) -> bool:
        """Whether the data gate stopped the night."""
        return any(stage.stage == DATA_GATE and stops(stage) for stage in self.stages)


def summary(record: NightRecord) -> str:
    """A night's record as Markdown."""
    stages = (
        f"| {one.stage} | {'reused' if one.reused else 'made'} | {costs_text(one.seconds, one.cpu_seconds, one.peak_memory)} "
        f"| `{one.artifact_id[:SHORT]}` | {headline_text(one.headline)} |"
        for one in record.stages
    )
    lines = [f"# {record.outcome}", f"Recipe **{record.recipe}**, night {record.night}, {record.costs}.", ""]
    if record.advice:
        lines += ["```", record.advice, "```", ""]
    lines += ["| stage | | took | artifact | figures |", "|---|---|---|---|---|", *stages, ""]
    lines += [f"- {what}: `{path}`" for what, path in (("report", record.report), ("audit database", record.audit_database)) if path]
    return "\n".join(lines)


@dataclass(frozen=True)
class Before:
    """The nights before, whose feedback was let through: what is new tonight, and what changes are judged against."""

    snapshot: StageResult | None
    """The latest night's snapshot; what it did not have is new."""
    qualities: dict[str, StageResult]
    """The quality of each night's feedback, by role."""


@contextmanager
def night_of(home: Home, recipe: str) -> Iterator[None]:
    """Keep a home from being changed under a night, and other nights of the same recipe out of it, on every machine.

    A holder that died counts no more: at once on this machine, after a while on others (see `data_contracts.sharing.lease`).

    Raises:
        BusyError: such a night is running.
    """
    with home.at_work(), ExitStack() as held:
        try:
            held.enter_context(home.share.turn(home.nights / f".{recipe}.lock", wait=False))
        except BusyError as error:
            remedy = "wait for its end, or end it: what it finished is kept"
            raise BusyError(f"a night of the recipe {recipe} is running: {error.what}", where=error.where, remedy=remedy) from error
        yield


def stops(data_gate: StageResult) -> bool:
    """Whether the data gate ends the night."""
    return data_gate.headline["decision"] == STOP


@dataclass
class Night:
    """A night while it runs."""

    recipe: Recipe
    home: Home
    began: datetime
    results: dict[str, StageResult] = field(default_factory=dict)

    @classmethod
    def begin(cls, recipe: Recipe, home: Home) -> "Night":
        """Start the clock.

        Raises:
            InputError: a source's files are missing, which is known before anything is trained or fetched; the night is on record.
        """
        home.root.mkdir(parents=True, exist_ok=True)
        night = cls(recipe, home, datetime.now(UTC))
        try:
            for source in recipe.ingest.sources:
                files(Path(source.path))
        except OvernightError as error:
            night._record_failure(INGEST, error)
            raise
        return night

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
            result = run_stage(self.recipe.run, stage, label, self.home, config, inputs)
        except BaseException as error:  # Prefect's way of ending a run is no Exception
            self._record_failure(label, error)
            raise
        self.results[label] = result
        emit(result.ended())
        return result

    def let_through_before(self, snapshot: StageResult) -> Before:
        """The nights of this recipe before the first one with this snapshot: so the same snapshot is always judged against the same.

        Nights that were stopped do not count, and of several nights with one snapshot only the last does. Whether a night failed
        later on does not matter here: its feedback had been judged.
        """
        nights: dict[str, dict[str, StageResult]] = {}
        for path in sorted(self.home.nights.glob("*.json")):
            record = NightRecord.model_validate_json(path.read_text())
            stages = {result.stage: result for result in record.stages} if record.recipe == self.recipe.name else {}
            if "snapshot" in stages and stages["snapshot"].digest == snapshot.digest:
                break
            if DATA_GATE in stages and not stops(stages[DATA_GATE]) and self._has(stages["snapshot"], stages["quality"]):
                nights.pop(stages["snapshot"].digest, None)
                nights[stages["snapshot"].digest] = stages
        latest = list(reversed(nights.values()))[: self.recipe.data_gate.trailing_nights]
        return Before(
            snapshot=latest[0]["snapshot"] if latest else None,
            qualities={f"trailing_{number}": stages["quality"] for number, stages in enumerate(latest, 1)},
        )

    def _has(self, *results: StageResult) -> bool:
        return all(self.home.artifacts.holds(result.kind, result.artifact_id) for result in results)

    def champion_to_beat(self, policy: StageResult) -> StageResult | None:
        """The champion that a policy is compared with, or None on the first night."""
        entry = Registry(self.home.registry / self.recipe.registry.line).opponent_of(policy.digest)
        if entry is None:
            return None
        return self._champion(entry.policy_id)

    def champion_to_start_from(self, base_model: StageResult, preferences: StageResult) -> StageResult | None:
        """The champion that tonight's policy starts from, where the recipe says so and it came from the same base model.

        The first policy that was judged after learning from these preferences decides: so a night with nothing new starts where that one
        started, although its policy may be the champion by now.
        """
        if getattr(self.recipe.policy, "start", "base_model") != "champion":
            return None
        registry, same = Registry(self.home.registry / self.recipe.registry.line), (base_model.digest, preferences.digest)
        for entry in registry.history("candidate"):
            behind = self._inputs(entry.policy_id)
            if (behind["base_model"].digest, behind["prompts"].digest) == same:
                start = behind.get("start")
                return None if start is None else self._champion(start.id)
        champion = registry.current("champion")
        if champion is None or self._inputs(champion.policy_id)["base_model"].digest != base_model.digest:
            return None
        return self._champion(champion.policy_id)

    def _champion(self, policy_id: str) -> StageResult:
        """A policy that is, or was, champion, as a stage's input."""
        return StageResult.of("champion", self.home.artifacts.open(policy_id), reused=True)

    def _inputs(self, artifact_id: str) -> dict[str, InputRef]:
        """What an artifact was made from, by role."""
        return {ref.role: ref for ref in self.home.artifacts.open(artifact_id).manifest.identity.inputs}

    def reward_model_to_beat(self, champion: StageResult | None, reward_model: StageResult) -> StageResult | None:
        """What the champion learned through, or None where there is no champion or it learned through tonight's, or through none."""
        if champion is None:
            return None
        behind = self._inputs(champion.artifact_id).get("reward_model")
        if behind is None or behind.digest == reward_model.digest:
            return None
        return StageResult.of("champion's reward model", self.home.artifacts.open(behind.id), reused=True)

    def close(self, **reported: StageResult | None) -> NightRecord:
        """Write the report of what there is, by role, put it in place, rebuild the audit database and keep the night's record."""
        self.run(report_stage, self.recipe.report, **reported)
        report = self.home.artifacts.open(self.results["report"].artifact_id).file("report.html")
        shutil.copyfile(report, self.home.report)
        record = self.record(self._outcome(), report=self.home.report, audit_database=self.home.audit_database, advice=self._advice())
        rebuild_audit_database(self.home)
        return record

    def record(self, outcome: str, *, report: Path | None = None, audit_database: Path | None = None, advice: str = "") -> NightRecord:
        """Write the night's record, whole or not at all."""
        record = NightRecord(
            night=f"{self.began:%Y-%m-%dT%H-%M-%S}.{self.began.microsecond:06d}Z",
            recipe=self.recipe.name,
            outcome=outcome,
            advice=advice,
            seconds=round((datetime.now(UTC) - self.began).total_seconds(), 1),
            stages=list(self.results.values()),
            settings=self.recipe.model_dump(mode="json", exclude_defaults=True),
            report=str(report or ""),
            audit_database=str(audit_database or ""),
        )
        self.home.share.write(self.home.nights / f"{record.night}.json", record.model_dump_json(indent=2) + "\n")
        emit(NightEnded(record.night, record.outcome, summary(record)))
        return record

    def _advice(self) -> str:
        if self._awaits_approval():
            return APPROVAL.format(version=self.results["registry"].artifact_id[:SHORT])
        return self.home.artifacts.open(self.results[DATA_GATE].artifact_id).file(MESSAGE_FILE).read_text()

    def _record_failure(self, stage: str, error: BaseException) -> None:
        """Keep a night that ends here, as far as the disk lets us; what failed is raised on in any case."""
        reason = error.what if isinstance(error, OvernightError) else f"{type(error).__name__}: {error}"
        outcome = f"failed in {stage}: {reason}" if isinstance(error, Exception) else f"interrupted in {stage}"
        with suppress(Exception):  # a full disk, perhaps the very failure that is being recorded
            self.record(outcome.partition("\n")[0])
            rebuild_audit_database(self.home)  # what stopped the night is there to be audited, too

    def _outcome(self) -> str:
        """`nothing new` when no stage had anything to do (an ingest that accepted no row is nothing new either; refused ones are told).

        A night that the data gate stops, or that awaits approval, says so however often it is run: nothing changes until a
        person does something.
        """
        if stops(gate := self.results[DATA_GATE]):
            return f"{STOPPED}: {gate.headline['stopping']}"
        if self._awaits_approval():
            return f"{AWAITING} (gate: {self.results['gate'].headline['verdict']})"
        if all(result.reused for name, result in self.results.items() if name != INGEST):
            refused = 0 if self.results[INGEST].reused else self.results[INGEST].headline["rows_quarantined"]
            return f"{NOTHING_NEW}; {refused} rows were refused" if refused else NOTHING_NEW
        gate, version = self.results["gate"], self.results["registry"]
        again = ", as before" if version.reused else ""
        return f"{self._decision()}{again} (gate: {gate.headline['verdict']})"

    def _awaits_approval(self) -> bool:
        version = self.results.get("registry")
        return version is not None and version.headline["decision"] == AWAITING and self._standing() is None

    def _standing(self) -> str | None:
        """What was decided about tonight's policy, or None where nothing was."""
        return Registry(self.home.registry / self.recipe.registry.line).standing(self.results["policy"].digest)

    def _decision(self) -> str:
        """What became of tonight's policy: as the registry's stage says, unless people have decided since."""
        decision, standing = str(self.results["registry"].headline["decision"]), self._standing()
        if decision == KEPT or standing is None:
            return decision
        return PROMOTED if standing == "champion" else standing

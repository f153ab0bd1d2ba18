"""The gate: rules with a bound each, judged on the figures of the night's models, and one verdict from all of them."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.home import Home
from data_contracts.manifest import Identity, library_versions, pinned_config
from data_contracts.parquet import write_records
from data_contracts.records import ALL_SLICES, RULE
from tasks.gate.figures import gather, why_absent
from tasks.gate.judging import FAIL, NOT_JUDGED, PASS, UNSURE, WARN, Absent, Figures, Judged, judge_rule, overall
from tasks.gate.message import remedy
from tasks.gate.rules import GateConfig
from tasks.stage import stage

RULES_FILE = "gate.parquet"
ORDER = (FAIL, UNSURE, WARN, NOT_JUDGED, PASS)


def judge_night(
    home: Home, config: GateConfig, *, reward_model: Artifact, judge: Artifact, policy: Artifact, evaluation: Artifact, **measured: Artifact
) -> Made:
    """Judge the night's figures by the rules; the rules as judged are kept as `gate.parquet`.

    `measured` is what the recipe's judges and measures found.
    """
    inputs = {"reward_model": reward_model, "judge": judge, "policy": policy, "evaluation": evaluation}
    identity = Identity(
        kind="gate",
        code_version=code_version("tasks.gate.gate"),
        libraries=library_versions(("pyarrow",)),
        config=pinned_config(config),
        inputs=tuple(artifact.manifest.as_input(role) for role, artifact in (inputs | measured).items()),
    )
    found = list(measured.values())

    def build(directory: Path) -> Headline:
        rows = judged(config, gather(**inputs, measured=found), why_absent(evaluation=evaluation, policy=policy, measured=found))
        write_records(RULE, RULE.table([asdict(row) for row in rows]), directory / RULES_FILE)
        return headline(rows)

    return home.artifacts.make(identity, build)


def judged(config: GateConfig, figures: Figures, absent: Absent) -> list[Judged]:
    """Every rule on every slice, the worst first, and what to do about those that did not pass."""
    rows = [row for rule in config.every_rule for row in judge_rule(rule, figures, absent)]
    told = [replace(row, remedy=row.remedy or remedy(row)) for row in rows]
    return sorted(told, key=lambda row: ORDER.index(row.verdict))


def headline(rows: Sequence[Judged]) -> Headline:
    """The verdict, the rules that stand in the way, those that warn, and those that could not be judged."""
    return {
        "verdict": overall({row.verdict for row in rows}),
        "not_passed": _in_a_line(rows, FAIL, UNSURE),
        "warning": _in_a_line(rows, WARN),
        "not_judged": _in_a_line(rows, NOT_JUDGED),
    }


def _in_a_line(rows: Sequence[Judged], *verdicts: str) -> str | None:
    places: dict[str, list[str]] = {}
    for row in rows:
        if row.verdict in verdicts:
            places.setdefault(row.rule, []).extend([] if row.slice == ALL_SLICES else [row.slice])
    return ", ".join(f"{rule} ({', '.join(parts)})" if parts else rule for rule, parts in places.items()) or None


gate_stage = stage("gate")(judge_night)

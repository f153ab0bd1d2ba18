"""The data gate: rules on the night's feedback, each with its evidence, and one verdict before anything learns from it."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from data_contracts.artifact_store import SHORT, Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.home import Home
from data_contracts.manifest import Identity, library_versions, pinned_config
from data_contracts.parquet import write_records
from data_contracts.records import ALL_SLICES, DATA_RULE
from tasks.data_gate.judging import NOT_JUDGED, PASS, STOP, TOO_FEW, WARN, Figures, Judged, judge_rule, overall
from tasks.data_gate.message import in_a_line, message, remedy
from tasks.data_gate.rules import CONTRACT_WARNINGS, DataGateConfig
from tasks.rules import Figure
from tasks.stage import stage

GO_ON: Final = "go on"
ROWS_FILE, MESSAGE_FILE = "data_gate.parquet", "message.txt"
NEW_BATCHES = "new_batches.json"
"""The quality stage's list of the batches that are new."""
ORDER = (STOP, WARN, TOO_FEW, PASS, NOT_JUDGED)


def judge_data(home: Home, config: DataGateConfig, *, quality: Artifact, contracts: Artifact, **trailing: Artifact) -> Made:
    """Judge a night's feedback; the rules as judged are kept as `data_gate.parquet`, and what to do as `message.txt`.

    Args:
        home: the installation.
        config: the rules.
        quality: the quality of tonight's feedback.
        contracts: the contract checks of tonight's snapshot.
        trailing: the quality of earlier nights whose feedback was let through, in any order.
    """
    inputs = {"quality": quality, "contracts": contracts, **trailing}
    identity = Identity(
        kind="data_gate",
        code_version=code_version("tasks.data_gate.data_gate"),
        libraries=library_versions(("pyarrow",)),
        config=pinned_config(config),
        inputs=tuple(artifact.manifest.as_input(role) for role, artifact in inputs.items()),
    )
    return home.artifacts.make(identity, lambda directory: _write(directory, config, quality, contracts, list(trailing.values())))


def _write(directory: Path, config: DataGateConfig, quality: Artifact, contracts: Artifact, trailing: list[Artifact]) -> Headline:
    batches: list[str] = json.loads(quality.file(NEW_BATCHES).read_text())
    tonight = figures_of(quality) | warnings_of(contracts)
    rows = with_remedies(judged(config, tonight, [figures_of(night) for night in trailing]), config, batches)
    verdict = overall(rows)
    accepted = verdict == STOP and bool(config.accept) and quality.id.startswith(config.accept)
    write_records(DATA_RULE, DATA_RULE.table([asdict(row) for row in rows]), directory / ROWS_FILE)
    (directory / MESSAGE_FILE).write_text(message(rows, batches, quality.id[:SHORT], accepted=accepted))
    return {
        "verdict": verdict,
        "decision": GO_ON if accepted or verdict != STOP else STOP,
        "rules": len({row.rule for row in rows}),
        "stopping": in_a_line([row for row in rows if row.verdict == STOP]) or None,
        "warning": in_a_line([row for row in rows if row.verdict in (WARN, TOO_FEW)]) or None,
        "trailing_nights": len(trailing),
    }


def judged(config: DataGateConfig, tonight: Figures, trailing: list[Figures]) -> list[Judged]:
    """Every rule on every slice, the worst first."""
    rows = [row for rule in config.every_rule for row in judge_rule(rule, tonight, trailing, config.min_trailing_nights)]
    return sorted(rows, key=lambda row: ORDER.index(row.verdict))


def with_remedies(rows: list[Judged], config: DataGateConfig, batches: list[str]) -> list[Judged]:
    """The rows that did not pass with what to do about them: the rule's own remedy, or what suits the figure."""
    own = {rule.name: rule.remedy for rule in config.every_rule}
    return [replace(row, remedy=own[row.rule] or remedy(row, batches)) if row.verdict in (STOP, WARN, TOO_FEW) else row for row in rows]


def figures_of(quality: Artifact) -> Figures:
    """The figures of one night."""
    rows = pq.read_table(quality.file("quality.parquet")).to_pylist()
    return {(row["slice_kind"], row["slice"], row["figure"]): Figure(row["value"], row["low"], row["high"], row["n"]) for row in rows}


def warnings_of(contracts: Artifact) -> Figures:
    """How many expectations of the severity `warning` were broken, as a figure of all judgments."""
    headline = contracts.manifest.headline
    broken, checked = (int(headline[name] or 0) for name in ("failed_warnings", "expectations"))
    return {(ALL_SLICES, ALL_SLICES, CONTRACT_WARNINGS): Figure(float(broken), None, None, checked)}


data_gate_stage = stage("data gate")(judge_data)

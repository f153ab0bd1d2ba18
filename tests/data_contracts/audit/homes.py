"""A small home with everything that the audit database tells of: real stages on a few deliveries, and models by their manifests."""

import json
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from data_contracts.artifact_store import Artifact, Headline
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.manifest import Identity
from data_contracts.parquet import write_records
from data_contracts.records import REWARD_FIGURE, RULE
from data_contracts.registry import AliasEntry, Registry
from tasks.data_gate.data_gate import judge_data
from tasks.data_gate.rules import DataGateConfig
from tasks.duplicates.duplicates import DuplicatesConfig, find_duplicates
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.quality.aggregation.aggregation import AggregationConfig, aggregate_judgments
from tasks.quality.aggregation.spammers import SpammerRules
from tasks.quality.preferences import PreferencesConfig, build_preferences
from tasks.quality.quality import QualityConfig, measure_quality
from tests.tasks.deliveries import Rows, deliver_files, row, write_rows

ANNOTATORS = ("kim", "lee", "o'hara", None)
EXCLUDED = "lee"
"""Judges so fast that the recipe excludes what this annotator says."""
N_COMPARISONS = 24
RULES = [
    {
        "rule": "annotators_agree",
        "verdict": "pass",
        "severity": "fail",
        "figure_of": "evaluation",
        "slice": "all",
        "figure": "win_rate_reference",
        "value": 0.4,
        "low": 0.3,
        "high": 0.5,
        "threshold": 0.1,
        "n": 40,
        "reason": "above",
        "remedy": "",
    }
]
METRICS = {
    "reward_model": [
        {"step": 1, "loss": 0.7, "accuracy": [0.5, 0.25]},
        {"step": 2, "loss": 0.6, "accuracy": [0.75, 0.5]},
        {"epoch": 1.0, "validation_log_loss": 0.65},
        {"step": 3, "loss": float("nan"), "accuracy": [1.0, None]},
    ],
    "policy": [
        {"update": 0, "validation_score": 0.1},
        {"update": 1, "score": 0.25, "kl_k1": None},
        {"update": 2, "score": 1, "kl_k1": 0.125},
    ],
}
"""What trainings logged, as JSON lines: with lists of members, a validation that names no step, and figures that were not finite."""
HEADLINES: dict[str, Headline] = {"gate": {"verdict": "pass"}, "validation": {"failed_warnings": 0, "expectations": 31}}
REWARD_FIGURES = [
    {
        "split": "test",
        "grouping": "all",
        "part": "all",
        "figure": "accuracy",
        "value": 0.7,
        "low": 0.6,
        "high": 0.8,
        "n_pairs": 9,
        "n_prompts": 9,
    }
]


def small_home(root: Path) -> Home:
    """Three deliveries and two nights: the second delivery corrects and takes back, the third mends one of two refused rows."""
    home = Home(root)
    deliver_rows(home, "day", first_delivery(), days_ago=2)
    deliver_rows(home, "mended", [row("left", annotator_id="kim"), row("up", annotator_id="lee")], days_ago=2)
    first = night(home, "2026-01-01T00-00-00.000000Z")
    deliver_rows(home, "second", second_delivery(), days_ago=1)
    deliver_rows(home, "mended", [row("a", annotator_id="kim"), row("up", annotator_id="lee")], days_ago=0)
    second = night(home, "2026-01-02T00-00-00.000000Z", champion=first["policy"])
    failed = {
        "night": "2026-01-03T00-00-00.000000Z",
        "recipe": "test",
        "outcome": "failed in ingest: no file",
        "seconds": 0.5,
        "stages": [],
    }
    (home.nights / f"{failed['night']}.json").write_text(json.dumps(failed))
    for night_ in (first, second):
        target = {"policy_id": night_["policy"].id, "policy_digest": night_["policy"].digest}
        Registry(home.registry / "test").move("champion", AliasEntry(version_id=night_["version"].id, reason="passed", **target))
    return home


def first_delivery() -> list[dict[str, Any]]:
    """Every annotator on most comparisons, with repeats by one of them, and a model that judges."""
    rng = random.Random(1)
    rows = []
    for number in range(N_COMPARISONS):
        for annotator in ANNOTATORS:
            if rng.random() < 0.8:
                rows.append(vote(rng, number, annotator, len(rows)))
            if annotator == "kim" and number % 5 == 0:
                rows.append(vote(rng, number, annotator, len(rows)))
        rows.append(vote(rng, number, "a-model", len(rows)) | {"annotator_kind": "model"})
    return rows


def vote(rng: random.Random, number: int, annotator: str | None, place: int) -> dict[str, Any]:
    return row(
        rng.choice(("a", "a", "b", "tie")),
        prompt=prompt(number),
        response_a="A short answer." if number else "The very same answer to it.",
        response_b=f"A somewhat longer answer, number {number}." if number else "The very same answer to it.",
        judgment_id=f"j{place}",
        annotator_id=annotator,
        slice="code" if number % 3 else "poetry",
        model_a="small",
        model_b="large",
        presented_first=rng.choice(("a", "b")),
        event_time=(datetime(2025, 12, 1) + timedelta(hours=place)).isoformat(),
        seconds_spent=1.0 if annotator == EXCLUDED else rng.choice((6.0, 8.0, 20.0)),
    )


def prompt(number: int) -> str:
    """Prompts 0 and 1 are nearly the same, the others are not."""
    words = " ".join(f"word{number if number > 1 else 0}x{place}" for place in range(30))
    return f"{words} {'one' if number == 1 else 'two'}"


def second_delivery() -> list[dict[str, Any]]:
    """Corrects judgment 0, takes back judgment 1, and brings a new comparison."""
    rows = first_delivery()
    other = {"a": "b", "b": "tie", "tie": "a"}[rows[0]["verdict"]]
    rng = random.Random(2)
    new = [vote(rng, N_COMPARISONS, annotator, 1000 + place) for place, annotator in enumerate(ANNOTATORS)]
    return [rows[0] | {"verdict": other}, {"op": "retract", "judgment_id": "j1"}, *new]


def deliver_rows(home: Home, name: str, rows: Rows, *, days_ago: int) -> Artifact:
    """Land a file of the source `export`, as if that many days ago: the time is part of neither id nor digest."""
    batch = deliver_files(home, write_rows(home.root.parent / f"in-{len(rows)}-{name}" / f"{name}.jsonl", rows).parent)
    path = batch.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["created_at"] = (datetime.fromisoformat(manifest["created_at"]) - timedelta(days=days_ago)).isoformat()
    path.chmod(0o644)
    path.write_text(json.dumps(manifest))
    return next(one for one in FeedbackLake(home.lake).batches() if one.id == batch.id)


def night(home: Home, name: str, champion: Artifact | None = None) -> dict[str, Artifact]:
    """A night of the data stages; models and what follows from them by their manifests alone."""
    snapshot = take_snapshot(home, SnapshotConfig(sources=("export",))).artifact
    duplicates = find_duplicates(home, DuplicatesConfig(), snapshot=snapshot).artifact
    data = {"snapshot": snapshot, "duplicates": duplicates}
    excluding = AggregationConfig(aggregator="majority", rules=SpammerRules(min_judgments=10), flagged="exclude")
    aggregation = aggregate_judgments(home, excluding, snapshot=snapshot).artifact
    splits = PreferencesConfig(train=0.4, validation=0.2, test=0.2, judge=0.2)
    quality = measure_quality(home, QualityConfig(resamples=100), **data).artifact
    contracts = made(home, "validation", {}, snapshot=snapshot)
    found = data | {
        "aggregation": aggregation,
        "quality": quality,
        "data_gate": judge_data(home, DataGateConfig(), quality=quality, contracts=contracts).artifact,
        "preferences": build_preferences(home, splits, aggregation=aggregation, **data).artifact,
    }
    found["reward_model"] = made(home, "reward_model", {"split": "train"}, preferences=found["preferences"])
    found["judge"] = made(home, "reward_model", {"split": "judge"}, preferences=found["preferences"])
    models = {"reward_model": found["reward_model"], "judge": found["judge"], "prompts": found["preferences"]}
    found["policy"] = made(home, "policy", {"validation_prompts": 8}, **models)
    against = {"champion": champion} if champion else {}
    found["evaluation"] = made(home, "evaluation", {}, policy=found["policy"], **against)
    found["gate"] = made(home, "gate", {}, quality=found["quality"], evaluation=found["evaluation"])
    found["version"] = made(home, "version", {}, policy=found["policy"], gate=found["gate"])
    record(home, name, found)
    return found


def made(home: Home, kind: str, config: Mapping[str, Any], **inputs: Artifact) -> Artifact:
    refs = tuple(artifact.manifest.as_input(role) for role, artifact in inputs.items())

    def write(directory: Path) -> Headline:
        (directory / "made").write_text("".join([kind, *(ref.id for ref in refs)]))
        if kind == "gate":
            write_records(RULE, RULE.table(RULES), directory / "gate.parquet")
        if kind == "reward_model":
            write_records(REWARD_FIGURE, REWARD_FIGURE.table(REWARD_FIGURES), directory / "figures.parquet")
        if kind in METRICS:
            (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in METRICS[kind]))
        return HEADLINES.get(kind, {})

    return home.artifacts.make(Identity(kind=kind, code_version="1", config=dict(config), inputs=refs), write).artifact


def record(home: Home, name: str, found: Mapping[str, Artifact]) -> None:
    """The first night's record is of a version that did not measure what stages cost."""
    home.nights.mkdir(parents=True, exist_ok=True)
    costs = {"cpu_seconds": 1.5, "peak_memory": None} if any(home.nights.iterdir()) else {}
    stages = [
        {"stage": role, "kind": artifact.kind, "artifact_id": artifact.id, "reused": False, "seconds": 1.0, "headline": {}, **costs}
        for role, artifact in found.items()
    ]
    for stage in stages:
        if costs and stage["kind"] in METRICS:
            stage["peak_memory"] = 1_000 if stage["stage"] == "policy" else 900
    told = {"night": name, "recipe": "test", "outcome": "promoted (gate: pass)", "seconds": 20.0, "stages": stages}
    (home.nights / f"{name}.json").write_text(json.dumps(told))

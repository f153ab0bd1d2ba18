"""Export: a version as a plain Hugging Face model directory, with a model card and its evaluation, that needs nothing of ours."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact
from data_contracts.errors import InputError
from data_contracts.home import Home
from tasks.decision.approval import registry_of, verified_evidence
from tasks.decision.model_card import measured_rows, model_card

MODEL = "model/"
"""Where a policy keeps the files of `from_pretrained`."""
CARD, EVALUATION, PROVENANCE = "README.md", "evaluation.json", "provenance.json"


def export_version(home: Home, version: Artifact, directory: Path) -> None:
    """Write a version's model, its card and its evaluation into a new directory, whole or not at all.

    Raises:
        InputError: there is something in the directory already.
        IntegrityError: policy, evaluation or gate are not what was judged.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError("there is something already", where=str(directory), remedy="give --to a directory that is empty or not there")
    evidence = verified_evidence(home, version)
    aside = directory.with_name(f".{directory.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    copy_model(evidence["policy"], aside)
    provenance = provenance_of(home, version, evidence)
    (aside / EVALUATION).write_text(_json(evaluation_of(home, version, evidence)))
    (aside / PROVENANCE).write_text(_json(provenance))
    (aside / CARD).write_text(model_card(home, version, evidence, provenance, night_of(home, version)))
    if directory.exists():
        directory.rmdir()
    aside.rename(directory)


def copy_model(policy: Artifact, directory: Path) -> None:
    """Copy the files of `from_pretrained`: weights as safetensors, configuration and tokenizer."""
    for entry in policy.manifest.present_files:
        if entry.path.startswith(MODEL):
            target = directory / entry.path.removeprefix(MODEL)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(policy.file(entry.path), target)


def evaluation_of(home: Home, version: Artifact, evidence: Mapping[str, Artifact]) -> dict[str, Any]:
    """The evaluation's figures and the gate's rules; no texts of prompts or responses."""
    return {
        "version": version.id,
        **{role: {"id": artifact.id, "digest": artifact.digest} for role, artifact in evidence.items()},
        "figures": pq.read_table(evidence["evaluation"].file("figures.parquet")).to_pylist() + measured_rows(home, evidence["gate"]),
        "rules": pq.read_table(evidence["gate"].file("gate.parquet")).to_pylist(),
    }


def provenance_of(home: Home, version: Artifact, evidence: Mapping[str, Artifact]) -> dict[str, Any]:
    """How to make it again: the night, what its recipe sets, and every artifact behind the policy with what made it."""
    night = night_of(home, version)
    return {
        "version": version.id,
        "line": registry_of(home, version).root.name,
        "decisions": [
            entry.model_dump(mode="json", include={"at", "by", "action", "reason"})
            for entry in registry_of(home, version).decisions()
            if entry.policy_digest == evidence["policy"].digest
        ],
        "recipe": night.get("recipe"),
        "night": night.get("night"),
        "settings": {name: without_places(value) for name, value in night.get("settings", {}).items() if name not in NOT_SHOWN},
        "artifacts": [_made(artifact) for artifact in behind(home, [version, *evidence.values()])],
    }


NOT_SHOWN = ("ingest", "duplicates", "snapshot")
"""Sections of a recipe that tell where its owner keeps feedback, and are no part of a model that is given away."""


def without_places(value: Any) -> Any:
    """A setting in which absolute paths are cut down to their last part: where its owner keeps things is nobody's business."""
    if isinstance(value, dict):
        return {name: without_places(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_places(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def night_of(home: Home, version: Artifact) -> dict[str, Any]:
    """The record of the first night that registered a version; empty where there is none any more."""
    for path in sorted(home.nights.glob("*.json")):
        night: dict[str, Any] = json.loads(path.read_text())
        if any(stage["artifact_id"] == version.id for stage in night["stages"]):
            return night
    return {}


def behind(home: Home, artifacts: list[Artifact]) -> list[Artifact]:
    """The artifacts with everything that they were made from and that is still there, each once."""
    found: dict[str, Artifact] = {}
    waiting = list(artifacts)
    while waiting:
        artifact = waiting.pop(0)
        if artifact.id not in found:
            found[artifact.id] = artifact
            inputs = (home.artifacts.find(ref.kind, ref.id) for ref in artifact.manifest.identity.inputs)
            waiting += [one for one in inputs if one is not None]
    return list(found.values())


def _made(artifact: Artifact) -> dict[str, Any]:
    identity = artifact.manifest.identity
    return {
        "kind": artifact.kind,
        "id": artifact.id,
        "digest": artifact.digest,
        "code_version": identity.code_version,
        "libraries": identity.libraries,
        "seed": identity.config.get("seed"),
        "inputs": [ref.id for ref in identity.inputs if ref.kind != "file"],
    }


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"

"""What manifests, aliases, tombstones and the nights' records say, as tables of the audit database."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import duckdb

from data_contracts.artifact_store import Artifact
from data_contracts.audit import kinds
from data_contracts.audit.definitions import definitions_version
from data_contracts.audit.learned_from import learned_from
from data_contracts.audit.tables import add_rows
from data_contracts.feedback_lake import SNAPSHOT_FILE, digests_of, ingest_time
from data_contracts.home import Home
from data_contracts.registry import ALIASES, AliasEntry, lines
from data_contracts.tombstones import Tombstones

Row = dict[str, Any]


def add_bookkeeping(
    connection: duckdb.DuckDBPyConnection, home: Home, artifacts: Sequence[Artifact], batches: Sequence[Artifact], *, materialised: bool
) -> None:
    """Create the tables of nights, artifacts, batches, snapshots, lineage, aliases and of what was forgotten."""
    everything = [*artifacts, *batches]
    nights = [json.loads(path.read_text()) for path in sorted(home.nights.glob("*.json"))]
    snapshots = [artifact for artifact in artifacts if artifact.kind == "snapshot"]
    add_rows(connection, kinds.BUILT, [_built(home, batches, nights, materialised)])
    add_rows(connection, kinds.NIGHTS, map(_night, nights))
    add_rows(connection, kinds.STAGES, _stages(nights))
    add_rows(connection, kinds.ARTIFACTS, map(_artifact, everything))
    add_rows(connection, kinds.FILES, _files(everything))
    add_rows(connection, kinds.LINEAGE, _lineage(everything))
    add_rows(connection, kinds.BATCHES, (_batch(place, batch) for place, batch in enumerate(batches)))
    add_rows(connection, kinds.SNAPSHOTS, map(_snapshot, snapshots))
    add_rows(connection, kinds.SNAPSHOT_BATCHES, _snapshot_batches(snapshots, batches))
    add_rows(connection, kinds.LEARNED_FROM, learned_from(artifacts))
    add_rows(connection, kinds.ALIAS_MOVES, _alias_moves(home))
    add_rows(connection, kinds.DECISIONS, _decisions(home))
    add_rows(connection, kinds.TOMBSTONES, _tombstones(home))
    add_rows(connection, kinds.REDACTIONS, _redactions(everything))


def _built(home: Home, batches: Sequence[Artifact], nights: Sequence[Row], materialised: bool) -> Row:
    made = {"built_at": datetime.now(UTC), "home": str(home.root), "definitions": definitions_version(), "materialised": materialised}
    return made | {"overnight_version": version("overnight"), "n_batches": len(batches), "n_nights": len(nights)}


def _night(record: Row) -> Row:
    stages = record["stages"]
    counts = {"n_stages": len(stages), "n_reused": sum(stage["reused"] for stage in stages)}
    costs = {
        "cpu_seconds": _known(sum, (stage.get("cpu_seconds") for stage in stages)),
        "peak_memory": _known(max, (stage.get("peak_memory") for stage in stages)),
    }
    told = {name: record[name] for name in ("night", "recipe", "outcome", "seconds")}
    return told | costs | counts | {"began": _began(record["night"])}


def _known(taken: Callable[[list[Any]], Any], figures: Iterable[Any]) -> Any:
    """The sum, or the largest, of the figures that are known; None where none is."""
    known = [figure for figure in figures if figure is not None]
    return taken(known) if known else None


def _began(night: str) -> datetime | None:
    """The moment that a night's name tells, `2026-01-31T23-59-59.000000Z`; None of a name of another form."""
    try:
        return datetime.strptime(night, "%Y-%m-%dT%H-%M-%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def _stages(nights: Iterable[Row]) -> Iterator[Row]:
    for record in nights:
        for place, stage in enumerate(record["stages"]):
            row = {name: stage[name] for name in ("stage", "kind", "artifact_id", "reused", "seconds")}
            costs = {name: stage.get(name) for name in ("cpu_seconds", "peak_memory")}  # records of older versions lack them
            yield {"night": record["night"], "place": place, "headline": json.dumps(stage["headline"]), **row, **costs}


def _artifact(artifact: Artifact) -> Row:
    manifest = artifact.manifest
    return {
        "artifact_id": artifact.id,
        "kind": artifact.kind,
        "digest": artifact.digest,
        "created_at": datetime.fromisoformat(manifest.created_at),
        "seconds": manifest.seconds,
        "headline": json.dumps(manifest.headline),
        "config": json.dumps(manifest.identity.config),
        "code_version": manifest.identity.code_version,
        "directory": str(artifact.directory),
        "collected_at": manifest.collected_at or None,
    }


def _files(artifacts: Iterable[Artifact]) -> Iterator[Row]:
    for artifact in artifacts:
        for entry in artifact.manifest.files:
            yield {"artifact_id": artifact.id, **entry.model_dump()}


def _lineage(artifacts: Iterable[Artifact]) -> Iterator[Row]:
    for artifact in artifacts:
        for ref in artifact.manifest.identity.inputs:
            here = {"artifact_id": artifact.id, "kind": artifact.kind, "role": ref.role}
            yield {**here, "input_kind": ref.kind, "input_id": ref.id, "input_digest": ref.digest}


def _batch(place: int, batch: Artifact) -> Row:
    counts = {name: batch.manifest.headline.get(name) for name in kinds.BATCH_COUNTS}
    return {"batch": batch.directory.name, "place": place, "artifact_id": batch.id, "ingest_time": ingest_time(batch)} | counts


def _snapshot(snapshot: Artifact) -> Row:
    headline, sources = snapshot.manifest.headline, json.loads(snapshot.file(SNAPSHOT_FILE).read_text())["sources"]
    counts = {f"n_{name}": headline.get(name) for name in ("batches", "judgments", "comparisons")}
    return {"snapshot_id": snapshot.id, "created_at": datetime.fromisoformat(snapshot.manifest.created_at), "sources": sources} | counts


def _snapshot_batches(snapshots: Iterable[Artifact], batches: Sequence[Artifact]) -> Iterator[Row]:
    names = {digest: batch.directory.name for batch in batches for digest in digests_of(batch)}
    for snapshot in snapshots:
        for place, digest in enumerate(json.loads(snapshot.file(SNAPSHOT_FILE).read_text())["batches"]):
            yield {"snapshot_id": snapshot.id, "place": place, "digest": digest, "batch": names.get(digest)}


def _alias_moves(home: Home) -> Iterator[Row]:
    for line, registry in lines(home.registry):
        for alias in ALIASES:
            for place, entry in enumerate(registry.history(alias)):
                yield {"line": line, "alias": alias, "place": place, **_decision(entry)}


def _decisions(home: Home) -> Iterator[Row]:
    for line, registry in lines(home.registry):
        for place, entry in enumerate(registry.decisions()):
            yield {"line": line, "place": place, **_decision(entry)}


def _decision(entry: AliasEntry) -> Row:
    evidence = {ref.role: ref.id for ref in entry.evidence}
    return entry.model_dump(exclude={"evidence"}) | {"evaluation_id": evidence.get("evaluation"), "gate_id": evidence.get("gate")}


def _tombstones(home: Home) -> Iterator[Row]:
    for stone in Tombstones(home.tombstones):
        counts = {f"n_{name}": len(getattr(stone, name)) for name in ("annotators", "judgments", "prompts")}
        told = {"tombstone": stone.id, "requested_at": stone.at, "completed_at": stone.completed_at, "reason": stone.reason}
        erased = {"n_artifacts": len(stone.redacted), "n_models": len(stone.trained), "rows": json.dumps(stone.rows)}
        yield {**told, **counts, **erased, "trained_models": json.dumps([model.model_dump() for model in stone.trained])}


def _redactions(artifacts: Iterable[Artifact]) -> Iterator[Row]:
    for artifact in artifacts:
        before = {entry.path: entry.sha256 for entry in artifact.manifest.files}
        for redaction in artifact.manifest.redactions:
            for entry in redaction.files:
                if entry.sha256 != before[entry.path]:
                    here = {"artifact_id": artifact.id, "kind": artifact.kind, "tombstone": redaction.tombstone, "path": entry.path}
                    counted = {"sha256_before": before[entry.path], "sha256": entry.sha256, "rows": redaction.rows.get(entry.path, 0)}
                    yield here | counted
                before[entry.path] = entry.sha256

"""The audit database: one DuckDB file with everything a data team asks about, rebuilt from the lake, the artifacts and the nights.

It is built aside and renamed into place, so readers never meet a half-built file. Nothing in it is a source of truth.
"""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.artifact_store import Artifact
from data_contracts.errors import IntegrityError
from data_contracts.expectations import ROWS_FILE
from data_contracts.feedback_lake import FINDINGS, JUDGMENTS, QUARANTINED, FeedbackLake, files_of, ingest_time
from data_contracts.home import Home
from data_contracts.lake_views import current_comparisons, current_judgments
from data_contracts.records import COMPARISON, EXPECTATION, FINDING, JUDGMENT, QUARANTINE
from data_contracts.registry import ALIASES, lines
from data_contracts.tombstones import Tombstones

STORAGE_VERSION = "v1.0.0"
"""Written so that DuckDB clients of version 1 can read it, too."""


@dataclass(frozen=True)
class StageTable:
    """A table of a stage's artifacts that goes into the database, with the artifact's id beside every row."""

    name: str
    kind: str
    file: str
    grain: str


STAGE_TABLES = (
    StageTable("preferences", "preferences", "preferences.parquet", "one row per comparison whose judgments favour one response"),
    StageTable("prompts", "preferences", "prompts.parquet", "one row per prompt that may be used, with its split"),
    StageTable("excluded", "preferences", "excluded.parquet", "one row per comparison that makes no preference, with the reason"),
    StageTable("aggregated", "aggregation", "aggregated.parquet", "one row per comparison with a judgment of the kinds that count"),
    StageTable("annotator_reliability", "aggregation", "annotator_reliability.parquet", "one row per annotator whose judgments count"),
    StageTable("flagged_annotators", "aggregation", "flagged_annotators.parquet", "one row per annotator and rule that flags them"),
    StageTable("prompt_groups", "duplicates", "prompt_groups.parquet", "one row per prompt, with its group of near-duplicates"),
    StageTable("response_pairs", "duplicates", "response_pairs.parquet", "one row per comparison with responses that are nearly the same"),
    StageTable("contamination", "duplicates", "contamination.parquet", "one row per prompt and held-out evaluation set that it stands in"),
    StageTable("evaluation_sets", "duplicates", "evaluation_sets.parquet", "one row per held-out evaluation set"),
    StageTable("expectations", "validation", "expectations.parquet", "one row per contract check"),
    StageTable("quality", "quality", "quality.parquet", "one row per kind of slice, slice and figure of feedback quality"),
    StageTable("annotators", "quality", "annotators.parquet", "one row per annotator"),
    StageTable("annotator_pairs", "quality", "annotator_pairs.parquet", "one row per pair of annotators"),
    StageTable("favouritism", "quality", "favouritism.parquet", "one row per annotator and model that was judged often enough"),
    StageTable("reward_figures", "reward_model", "figures.parquet", "one row per split, part and figure of a reward model"),
    StageTable("evaluation", "evaluation", "figures.parquet", "one row per slice and figure of the evaluation"),
    StageTable("samples", "evaluation", "samples.parquet", "one row per response of one model to one held-out prompt"),
    StageTable("gates", "gate", "gate.parquet", "one row per rule of the gate"),
    StageTable(
        "simulated_truth", "simulated_truth", "truth.parquet", "simulated world only: one row per slice and figure of the true reward"
    ),
)


def rebuild_audit_database(home: Home) -> Path:
    """Build the audit database anew and put it in place of the old one."""
    home.share.refresh()  # other machines' nights are told of, too
    target = home.audit_database
    aside = target.with_name(f".{target.name}.{os.getpid()}.aside")  # two nights may end at the same time
    for left in target.parent.glob(f".{target.name}.*.aside*"):
        if not Path("/proc", left.name.split(".")[3]).exists() or left == aside:
            left.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        connection.execute(f"attach '{_quoted(aside)}' as audit (storage_version '{STORAGE_VERSION}')")
        connection.execute("use audit")
        _add_feedback(connection, FeedbackLake(home.lake))
        artifacts = [*home.artifacts, *FeedbackLake(home.lake).batches()]
        _add_rows(connection, "nights", "one row per night", _NIGHT, _nights(home))
        _add_rows(connection, "stages", "one row per night and stage", _STAGE, _stages(home))
        _add_rows(connection, "aliases", "one row per move of an alias", _ALIAS, _aliases(home))
        _add_rows(connection, "artifacts", "one row per artifact or batch", _ARTIFACT, map(_artifact_row, artifacts))
        _add_rows(connection, "files", "one row per file of an artifact", _FILE, _files(artifacts))
        _add_rows(connection, "tombstones", "one row per request to forget, without its content", _TOMBSTONE, _tombstones(home))
        _add_rows(connection, "redactions", "one row per artifact, file and request to forget", _REDACTION, _redactions(artifacts))
        _add_rows(connection, "lineage", "one row per artifact and input; follow input_id to go back", _LINEAGE, _lineage(artifacts))
        for table in STAGE_TABLES:
            _add_stage_table(connection, table, [artifact for artifact in artifacts if artifact.kind == table.kind])
        connection.execute("use memory")
        connection.execute("detach audit")
    aside.replace(target)
    return target


def _add_feedback(connection: duckdb.DuckDBPyConnection, lake: FeedbackLake) -> None:
    """The lake's records: every revision as it came, and what stands now."""
    batches = lake.batches()
    paths = [batch.path for batch in batches]
    rows = [_batch_row(batch) for batch in batches]
    _add_rows(connection, "batches", "one row per batch of the lake", _BATCH, rows)
    for name, kind, file in (
        ("judgment_revisions", JUDGMENT, JUDGMENTS),
        ("quarantine", QUARANTINE, QUARANTINED),
        ("findings", FINDING, FINDINGS),
        ("batch_expectations", EXPECTATION, ROWS_FILE),
    ):
        if files := [path for path in files_of(paths, file) if Path(path).exists()]:
            connection.execute(f"create table {name} as {_WITH_BATCH}", {"files": files})
        else:
            _create(connection, name, pa.Table.from_pylist([], pa.schema([pa.field("batch", pa.string()), *kind.schema])))
        _document(connection, name, f"{kind.grain}, as it came", kind.schema)
        _comment(connection, "column", f"{name}.batch", "the batch that the row came in")
    accepted = lake.readable(lake.accepted())
    for name, kind, view in (("judgments", JUDGMENT, current_judgments), ("comparisons", COMPARISON, current_comparisons)):
        _create(connection, name, view(*accepted) if accepted.batches else kind.table([]))
        _document(connection, name, f"what stands now: {kind.grain.replace('revision of ', '')}", kind.schema)


def _add_stage_table(connection: duckdb.DuckDBPyConnection, table: StageTable, artifacts: list[Artifact]) -> None:
    """All artifacts' rows as `all_NAME`, and those of the last night that has the stage as the view `NAME`."""
    files = {str(path): artifact.id for artifact in artifacts if (path := _file_of(artifact, table.file)) is not None}
    if not files:
        return
    connection.execute(
        f"create table all_{table.name} as select $ids[list_position($files, filename)] as artifact_id, * exclude (filename) "
        "from read_parquet($files, filename = true, union_by_name = true, hive_partitioning = false)",
        {"files": list(files), "ids": list(files.values())},
    )
    connection.execute(
        f"create view {table.name} as select * exclude (artifact_id) from all_{table.name} where artifact_id = "
        f"(select artifact_id from stages where kind = '{table.kind}' order by night desc limit 1)"
    )
    schema = pq.read_schema(next(iter(files)))
    _document(connection, f"all_{table.name}", f"{table.grain}, of every artifact", schema)
    _comment(connection, "column", f"all_{table.name}.artifact_id", "the artifact that the row stands in")
    _document(connection, table.name, f"{table.grain}, of the last night", schema, what="view")


def _file_of(artifact: Artifact, name: str) -> Path | None:
    """One of its files; None where it has none of that name, or lost it: what is damaged is told by `overnight verify`."""
    with suppress(IntegrityError):
        return artifact.file(name) if artifact.has(name) else None
    return None


_WITH_BATCH = """
select parse_filename(parse_dirpath(filename)) as batch, * exclude (filename)
from read_parquet($files, filename = true, hive_partitioning = false)
"""
_NIGHT = pa.schema([(n, pa.string()) for n in ("night", "recipe", "outcome")] + [("seconds", pa.float64())])
_STAGE = pa.schema(
    [(n, pa.string()) for n in ("night", "stage", "kind", "artifact_id")]
    + [("reused", pa.bool_()), ("seconds", pa.float64()), ("headline", pa.string())]
)
_ALIAS = pa.schema([(n, pa.string()) for n in ("line", "alias", "version_id", "policy_id", "policy_digest", "reason", "at")])
_ARTIFACT = pa.schema(
    [(n, pa.string()) for n in ("artifact_id", "kind", "digest", "created_at")]
    + [("seconds", pa.float64()), ("headline", pa.string()), ("config", pa.string()), ("code_version", pa.string())]
)
_FILE = pa.schema([("artifact_id", pa.string()), ("path", pa.string()), ("size", pa.int64()), ("sha256", pa.string())])
_LINEAGE = pa.schema([(n, pa.string()) for n in ("artifact_id", "kind", "role", "input_kind", "input_id", "input_digest")])
_TOMBSTONE = pa.schema(
    [(n, pa.string()) for n in ("tombstone", "requested_at", "completed_at", "reason")]
    + [(n, pa.int64()) for n in ("annotators", "judgments", "prompts", "artifacts", "models")]
    + [("rows", pa.string()), ("trained_models", pa.string())]
)
_REDACTION = pa.schema(
    [(n, pa.string()) for n in ("artifact_id", "kind", "tombstone", "path", "sha256_before", "sha256")] + [("rows", pa.int64())]
)
_COUNTS = ("rows_read", "rows_accepted", "rows_quarantined", "rows_known", "judgments", "comparisons")
_BATCH = pa.schema(
    [("batch", pa.string()), ("artifact_id", pa.string()), ("ingest_time", pa.timestamp("us", tz="UTC"))]
    + [(n, pa.int64()) for n in _COUNTS]
)


def _batch_row(batch: Artifact) -> dict[str, Any]:
    headline = batch.manifest.headline
    return {"batch": batch.directory.name, "artifact_id": batch.id, "ingest_time": ingest_time(batch)} | {
        name: headline.get(name) for name in _COUNTS
    }


def _records(home: Home) -> Iterator[dict[str, Any]]:
    for path in sorted(home.nights.glob("*.json")):
        yield json.loads(path.read_text())


def _nights(home: Home) -> Iterator[dict[str, Any]]:
    for record in _records(home):
        yield {name: record[name] for name in _NIGHT.names}


def _stages(home: Home) -> Iterator[dict[str, Any]]:
    for record in _records(home):
        for stage in record["stages"]:
            row = {name: stage[name] for name in ("stage", "kind", "artifact_id", "reused", "seconds")}
            yield {"night": record["night"], "headline": json.dumps(stage["headline"]), **row}


def _aliases(home: Home) -> Iterator[dict[str, Any]]:
    for line, registry in lines(home.registry):
        for alias in ALIASES:
            for entry in registry.history(alias):
                yield {"line": line, "alias": alias, **entry.model_dump()}


def _tombstones(home: Home) -> Iterator[dict[str, Any]]:
    for stone in Tombstones(home.tombstones):
        counts = {"judgments": len(stone.judgments), "prompts": len(stone.prompts), "artifacts": len(stone.redacted)}
        told = {"tombstone": stone.id, "requested_at": stone.at, "completed_at": stone.completed_at, "reason": stone.reason}
        models = {"models": len(stone.trained), "trained_models": json.dumps([model.model_dump() for model in stone.trained])}
        yield {**told, **counts, **models, "annotators": len(stone.annotators), "rows": json.dumps(stone.rows)}


def _redactions(artifacts: Iterable[Artifact]) -> Iterator[dict[str, Any]]:
    for artifact in artifacts:
        before = {entry.path: entry.sha256 for entry in artifact.manifest.files}
        for redaction in artifact.manifest.redactions:
            for entry in redaction.files:
                if entry.sha256 != before[entry.path]:
                    here = {"artifact_id": artifact.id, "kind": artifact.kind, "tombstone": redaction.tombstone, "path": entry.path}
                    counted = {"sha256_before": before[entry.path], "sha256": entry.sha256, "rows": redaction.rows.get(entry.path, 0)}
                    yield here | counted
                before[entry.path] = entry.sha256


def _artifact_row(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "artifact_id": artifact.id,
        "kind": artifact.kind,
        "digest": artifact.digest,
        "created_at": manifest.created_at,
        "seconds": manifest.seconds,
        "headline": json.dumps(manifest.headline),
        "config": json.dumps(manifest.identity.config),
        "code_version": manifest.identity.code_version,
    }


def _files(artifacts: Iterable[Artifact]) -> Iterator[dict[str, Any]]:
    for artifact in artifacts:
        for entry in artifact.manifest.files:
            yield {"artifact_id": artifact.id, **entry.model_dump()}


def _lineage(artifacts: Iterable[Artifact]) -> Iterator[dict[str, Any]]:
    for artifact in artifacts:
        for ref in artifact.manifest.identity.inputs:
            here = {"artifact_id": artifact.id, "kind": artifact.kind, "role": ref.role}
            yield {**here, "input_kind": ref.kind, "input_id": ref.id, "input_digest": ref.digest}


def _add_rows(connection: duckdb.DuckDBPyConnection, name: str, grain: str, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> None:
    _create(connection, name, pa.Table.from_pylist(list(rows), schema=schema))
    _comment(connection, "table", name, grain)


def _create(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    connection.register("incoming", table)
    connection.execute(f"create table {name} as select * from incoming")
    connection.unregister("incoming")


def _document(connection: duckdb.DuckDBPyConnection, table: str, grain: str, schema: pa.Schema, what: str = "table") -> None:
    """State what one row of a table stands for and, where the schema tells it, what each column means."""
    _comment(connection, what, table, grain)
    for field in schema:
        if description := (field.metadata or {}).get(b"description"):
            _comment(connection, "column", f"{table}.{field.name}", description.decode())


def _comment(connection: duckdb.DuckDBPyConnection, what: str, name: str, text: str) -> None:
    connection.execute(f"comment on {what} {name} is '{_quoted(text)}'")


def _quoted(text: object) -> str:
    return str(text).replace("'", "''")

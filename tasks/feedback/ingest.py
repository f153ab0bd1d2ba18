"""Ingest: everything that the sources deliver becomes one batch of the feedback lake.

Every source row is accepted, quarantined with a reason, or known already; per file these add up to the rows that were read.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.errors import IntegrityError, RecipeError
from data_contracts.feedback_lake import BATCH, COMPARISONS, FINDINGS, JUDGMENTS, QUARANTINED, FeedbackLake
from data_contracts.home import Home
from data_contracts.manifest import Identity, InputRef, file_hash, library_versions
from data_contracts.parquet import write_records
from data_contracts.records import COMPARISON, FINDING, JUDGMENT, QUARANTINE
from data_contracts.tombstones import Tombstones
from tasks.feedback.reconcile import Reconciled, SourceRow, reconcile
from tasks.feedback.screening import PrivacyConfig, Screening
from tasks.sources import FORMATS
from tasks.stage import StageConfig, stage

SIMULATED = "simulated"
FATES = ("accepted", "quarantined", "known")
FileCounts = dict[str, str | int]


class SourceConfig(StageConfig):
    """One source of feedback."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name of the source; part of its ids, so it should stay the same")
    format: Literal["native", "llmfao", "pandalm"] = Field(description="how its files are read")
    path: str = Field(description="file or folder, relative to the recipe or absolute")
    slice: str | None = Field(default=None, description="slice of rows that name none; by default the source's name")


class IngestConfig(StageConfig):
    """The sources of feedback."""

    sources: tuple[SourceConfig, ...] = Field(default=(), description="what is read every night")
    privacy: PrivacyConfig = Field(default_factory=PrivacyConfig, description="private data in texts, and the annotators' names")

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "IngestConfig":
        names = Counter([*(source.name for source in self.sources), SIMULATED])
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"source names must be distinct, and not {SIMULATED!r}: {', '.join(twice)}")
        return self


def ingest(home: Home, config: IngestConfig, *, simulated: Artifact | None = None) -> Made:
    """Read every source and land what is new as one batch; the same delivery is not read twice.

    Args:
        home: the installation.
        config: the sources.
        simulated: an artifact with `feedback.jsonl` in native format, read as the source `simulated`.

    Raises:
        InputError: a file is missing or unreadable, or has the wrong columns.
        RecipeError: there is no source.
    """
    sources = list(config.sources)
    if simulated is not None:
        sources.append(SourceConfig(name=SIMULATED, format="native", path=str(simulated.file("feedback.jsonl"))))
    if not sources:
        raise RecipeError("there is no source of feedback", remedy="add [[ingest.sources]] to the recipe")
    lake = FeedbackLake(home.lake)
    identity = _identity(sources, simulated, config.privacy)
    screening = Screening(config.privacy, Tombstones(home.tombstones).blocked())
    return lake.land(identity, lambda directory: _write_batch(directory, identity, sources, lake, screening))


def _identity(sources: Sequence[SourceConfig], simulated: Artifact | None, privacy: PrivacyConfig) -> Identity:
    """What decides a batch: its sources' settings and the bytes of their files, wherever these lie."""
    inputs = [] if simulated is None else [simulated.manifest.as_input(SIMULATED)]
    for source in sources:
        if source.name != SIMULATED:
            inputs += [_file_ref(source, path) for path in FORMATS[source.format].files(Path(source.path))]
    return Identity(
        kind=BATCH,
        code_version=code_version("tasks.feedback.ingest"),
        libraries=library_versions(("phonenumbers", "polars", "pyarrow")),
        config={"sources": [source.model_dump(exclude={"path"}) for source in sources], "privacy": privacy.pinned()},
        inputs=tuple(inputs),
    )


def _file_ref(source: SourceConfig, path: Path) -> InputRef:
    root = Path(source.path)
    name = path.relative_to(root).as_posix() if root.is_dir() else path.name
    return InputRef(role=f"{source.name}/{name}", kind="file", id=name, digest=file_hash(path))


def _write_batch(
    directory: Path, identity: Identity, sources: Sequence[SourceConfig], lake: FeedbackLake, screening: Screening
) -> Headline:
    rows = [row for source in sources for row in _rows(source, screening)]
    found = screening.without_forgotten(rows, reconcile(rows, [batch.path for batch in lake.accepted()]))
    write_records(COMPARISON, found.comparisons.to_arrow(), directory / COMPARISONS)
    write_records(JUDGMENT, found.judgments.to_arrow(), directory / JUDGMENTS)
    write_records(QUARANTINE, found.quarantine.to_arrow(), directory / QUARANTINED)
    write_records(FINDING, FINDING.table(screening.findings()), directory / FINDINGS)
    files = _per_file(rows, found)
    (directory / "delivery.json").write_text(json.dumps({"identity": identity.id, "files": files}, indent=2) + "\n")
    return _headline(files, found) | {"private_data_findings": screening.n_findings}


def _rows(source: SourceConfig, screening: Screening) -> Iterator[SourceRow]:
    parsed = FORMATS[source.format].parse(Path(source.path), source.slice)
    for file, row in screening.rows(source.name, source.slice, parsed):
        yield SourceRow(source.name, file, row)


def _per_file(rows: Sequence[SourceRow], found: Reconciled) -> list[FileCounts]:
    """Rows read, accepted, quarantined and known of each file, checked against the records that are written."""
    read = Counter((row.source, row.file) for row in rows)
    fates = Counter((row.source, row.file, fate) for row, fate in zip(rows, found.fates, strict=True))
    quarantined = Counter(found.quarantine.select("source", "source_file").iter_rows())
    files: list[FileCounts] = []
    for (source, file), count in sorted(read.items()):
        counts = {fate: fates[source, file, fate] for fate in FATES}
        if sum(counts.values()) != count or counts["quarantined"] != quarantined[source, file]:
            raise IntegrityError(f"{count} rows were read, but {counts} counted", where=f"{source}: {file}", remedy="nothing was stored")
        rows_by_fate = {f"rows_{fate}": n for fate, n in counts.items()}
        files.append({"source": source, "source_file": file, "rows_read": count, **rows_by_fate})
    return files


def _headline(files: Sequence[FileCounts], found: Reconciled) -> dict[str, int]:
    rows = {name: sum(int(file[name]) for file in files) for name in ("rows_read", *(f"rows_{fate}" for fate in FATES))}
    return rows | {"judgments": found.judgments.height, "comparisons": found.comparisons.height}


ingest_stage = stage("ingest")(ingest)

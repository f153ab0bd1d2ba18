"""Ingest: everything that the sources deliver becomes one batch of the feedback lake.

Every source row is accepted, quarantined with a reason, or known already; per file these add up to the rows that were read.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.errors import IntegrityError, RecipeError
from data_contracts.feedback_lake import BATCH, COMPARISONS, JUDGMENTS, QUARANTINED, FeedbackLake
from data_contracts.home import Home
from data_contracts.manifest import Identity, InputRef, file_hash, library_versions
from data_contracts.parquet import write_records
from data_contracts.records import COMPARISON, JUDGMENT, QUARANTINE
from tasks.feedback.reconcile import Reconciled, SourceRow, reconcile
from tasks.progress import StageProgress, emit
from tasks.sources import AUTO, FORMATS, format_of
from tasks.sources.places import file_name, selection
from tasks.stage import StageConfig, stage

SIMULATED = "simulated"
FATES = ("accepted", "quarantined", "known")
FileCounts = dict[str, str | int]


class SourceConfig(StageConfig):
    """One source of feedback."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", description="name of the source; part of its ids, so it should stay the same")
    format: str = Field(default=AUTO, description="how its files are read: a name of docs/sources.md, or told from the first rows")
    path: str = Field(description="file, folder, pattern, archive or member of one, relative to the recipe or absolute")
    slice: str | None = Field(default=None, description="slice of rows that name none; by default the source's name")

    @field_validator("format")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name != AUTO and name not in FORMATS:
            raise ValueError(f"there is no format {name!r}; there are {AUTO}, {', '.join(FORMATS)}")
        return name


class IngestConfig(StageConfig):
    """The sources of feedback."""

    sources: tuple[SourceConfig, ...] = Field(default=(), description="what is read every night")

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
    sources = [_told(source, StageProgress(n, len(sources))) for n, source in enumerate(sources, 1)]
    lake = FeedbackLake(home.lake)
    identity = _identity(sources, simulated)
    return lake.land(identity, lambda directory: _write_batch(directory, identity, sources, lake))


def _told(source: SourceConfig, progress: StageProgress) -> SourceConfig:
    """The source with its format, told from its rows where the recipe does not name it."""
    name, why = format_of(source.format, Path(source.path))
    if name != source.format:
        emit(replace(progress, figures={source.name: why}))
    return source.model_copy(update={"format": name})


def _identity(sources: Sequence[SourceConfig], simulated: Artifact | None) -> Identity:
    """What decides a batch: its sources' settings and the bytes of their files, wherever these lie."""
    inputs = [] if simulated is None else [simulated.manifest.as_input(SIMULATED)]
    for source in sources:
        if source.name != SIMULATED:
            inputs += [_file_ref(source, path) for path in FORMATS[source.format].files(Path(source.path))]
    return Identity(
        kind=BATCH,
        code_version=code_version("tasks.feedback.ingest"),
        libraries=library_versions(("polars", "pyarrow")),
        config={"sources": [source.model_dump(exclude={"path"}) | {"members": selection(Path(source.path))} for source in sources]},
        inputs=tuple(inputs),
    )


def _file_ref(source: SourceConfig, path: Path) -> InputRef:
    name = file_name(Path(source.path), path)
    return InputRef(role=f"{source.name}/{name}", kind="file", id=name, digest=file_hash(path))


def _write_batch(directory: Path, identity: Identity, sources: Sequence[SourceConfig], lake: FeedbackLake) -> Headline:
    rows = [row for source in sources for row in _rows(source)]
    found = reconcile(rows, [batch.path for batch in lake.accepted()])
    write_records(COMPARISON, found.comparisons.to_arrow(), directory / COMPARISONS)
    write_records(JUDGMENT, found.judgments.to_arrow(), directory / JUDGMENTS)
    write_records(QUARANTINE, found.quarantine.to_arrow(), directory / QUARANTINED)
    files = _per_file(rows, found)
    (directory / "delivery.json").write_text(json.dumps({"identity": identity.id, "files": files}, indent=2) + "\n")
    return _headline(files, found)


def _rows(source: SourceConfig) -> Iterator[SourceRow]:
    for file, row in FORMATS[source.format].parse(Path(source.path), source.slice):
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


def _headline(files: Sequence[FileCounts], found: Reconciled) -> Headline:
    rows = {name: sum(int(file[name]) for file in files) for name in ("rows_read", *(f"rows_{fate}" for fate in FATES))}
    return rows | {"judgments": found.judgments.height, "comparisons": found.comparisons.height}


ingest_stage = stage("ingest")(ingest)

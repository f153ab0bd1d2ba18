"""Ingest: everything that the sources deliver becomes one batch of the feedback lake.

Every source row is accepted, quarantined with a reason, or known already; per file these add up to the rows that were read.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import duckdb
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.contracts import BATCH_KINDS
from data_contracts.errors import IntegrityError, RecipeError, StageError
from data_contracts.expectations import check
from data_contracts.feedback_lake import BATCH, BATCH_FILES, COMPARISONS, DELIVERY, FINDINGS, JUDGMENTS, QUARANTINED, FeedbackLake
from data_contracts.home import Home
from data_contracts.manifest import Identity, InputRef, file_hash, library_versions
from data_contracts.parquet import ROWS_PER_GROUP, write_records, write_stream
from data_contracts.records import COMPARISON, FINDING, JUDGMENT, QUARANTINE, RecordKind
from data_contracts.sql_text import parquet, quoted
from data_contracts.tombstones import FORGOTTEN, Tombstones
from tasks.feedback.candidates import EVERY_PLACE, PLACE_BITS
from tasks.feedback.delivery import REFUSED, Delivery, Source, quarantined, raw_rows, read_delivery
from tasks.feedback.reconcile import reconcile
from tasks.privacy.screening import PrivacyConfig, Screening, leave_out_forgotten
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
    privacy: PrivacyConfig = Field(default_factory=PrivacyConfig, description="private data in texts, and the annotators' names")
    memory_limit: str = Field(
        default="1GB",
        pattern=r"^[1-9][0-9]*(MB|GB)$",
        description="what the database of a delivery may hold in memory before it goes to disk, such as `4GB`; 1GB is enough for ten "
        "million judgments at once",
    )
    check_contracts: bool = Field(
        default=True, description="check each new batch against its contracts before it lands; the night's snapshot is always checked"
    )

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "IngestConfig":
        names = Counter([*(source.name for source in self.sources), SIMULATED])
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"source names must be distinct, and not {SIMULATED!r}: {', '.join(twice)}")
        return self


def ingest(home: Home, config: IngestConfig, *, simulated: Artifact | None = None, mended: Sequence[str] = ()) -> Made:
    """Read every source and land what is new as one batch; the same delivery is not read twice.

    Args:
        home: the installation.
        config: the sources.
        simulated: an artifact with `feedback.jsonl` in native format, read as the source `simulated`.
        mended: fingerprints of refused rows that this delivery brings mended, see `tasks.feedback.mending`.

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
    identity = _identity(sources, simulated, config)

    def build(directory: Path) -> Headline:
        screening = Screening(config.privacy, Tombstones(home.tombstones).blocked())  # read when it is this ingest's turn
        headline, files = _write_records(directory, sources, lake, screening, config)
        told = {"identity": identity.id, "files": files, "mended": sorted(mended)}
        (directory / DELIVERY).write_text(json.dumps(told, indent=2) + "\n")
        return headline

    return lake.land(identity, build)


def _told(source: SourceConfig, progress: StageProgress) -> SourceConfig:
    """The source with its format, told from its rows where the recipe does not name it."""
    name, why = format_of(source.format, Path(source.path))
    if name != source.format:
        emit(replace(progress, figures={source.name: why}))
    return source.model_copy(update={"format": name})


def _identity(sources: Sequence[SourceConfig], simulated: Artifact | None, config: IngestConfig) -> Identity:
    """What decides a batch: its sources' settings and the bytes of their files, wherever these lie."""
    inputs = [] if simulated is None else [simulated.manifest.as_input(SIMULATED)]
    for source in sources:
        if source.name != SIMULATED:
            inputs += [_file_ref(source, path) for path in FORMATS[source.format].files(Path(source.path))]
    return Identity(
        kind=BATCH,
        code_version=code_version("tasks.feedback.ingest"),
        libraries=library_versions(("duckdb", "phonenumbers", "polars", "pyarrow")),
        config={
            "sources": [source.model_dump(exclude={"path"}) | {"members": selection(Path(source.path))} for source in sources],
            "privacy": config.privacy.pinned(),
            "check_contracts": config.check_contracts,
        },
        inputs=tuple(inputs),
    )


def _file_ref(source: SourceConfig, path: Path) -> InputRef:
    name = file_name(Path(source.path), path)
    return InputRef(role=f"{source.name}/{name}", kind="file", id=name, digest=file_hash(path))


def _write_records(
    directory: Path, sources: Sequence[SourceConfig], lake: FeedbackLake, screening: Screening, config: IngestConfig
) -> tuple[Headline, list[FileCounts]]:
    """Write the records of a batch; its headline, and what became of the rows of each file."""
    scratch = directory.with_name(f"{directory.name}.scratch")
    scratch.mkdir()
    try:
        with _database(scratch, config.memory_limit) as connection:
            delivery = read_delivery([_source(source) for source in sources], scratch, connection, screening)
            reconcile(delivery.candidates, [batch.path for batch in lake.accepted()], connection)
            leave_out_forgotten(connection, screening.blocked)
            counts = _write_both(connection, directory)
            _write_quarantine(connection, delivery, screening, directory / QUARANTINED)
            write_records(FINDING, FINDING.table(screening.findings()), directory / FINDINGS)
            warnings = check_batch(connection, directory) if config.check_contracts else None
            files = _per_file(connection, delivery)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    totals = {name: sum(int(file[name]) for file in files) for name in ("rows_read", *(f"rows_{fate}" for fate in FATES))}
    return totals | counts | {"failed_warnings": warnings, "private_data_findings": screening.n_findings}, files


def check_batch(connection: duckdb.DuckDBPyConnection, directory: Path) -> int:
    """Check a batch's files against their contracts before it lands, keep the result among them, and count the broken warnings.

    Args:
        connection: with the lake's comparisons as `lake_comparisons`, which the batch's judgments may name as well.
        directory: the batch.

    Raises:
        StageError: a critical expectation is broken: the batch does not land.
    """
    relations = {kind.name: parquet(directory / name) for kind, name in zip(BATCH_KINDS, BATCH_FILES, strict=True)}
    known = f"(select comparison_id from {relations[COMPARISON.name]} union all select comparison_id from lake_comparisons)"
    checkpoint = check(connection, relations, BATCH_KINDS, known)
    checkpoint.stop_if_critical("the batch that was about to land; nothing of it was stored", remedy="please report this")
    checkpoint.write(directory)
    return len(checkpoint.failed("warning"))


def _source(config: SourceConfig) -> Source:
    return Source(config.name, config.format, Path(config.path), config.slice)


@contextmanager
def _database(scratch: Path, memory_limit: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of its own for the delivery, which goes to disk where its memory does not suffice.

    Raises:
        StageError: something needs more memory at once than it may have.
    """
    with duckdb.connect(scratch / "delivery.duckdb") as connection:
        connection.execute(f"set memory_limit = '{memory_limit}'; set temp_directory = {quoted(scratch / 'spill')}")
        connection.execute("set timezone = 'UTC'; set preserve_insertion_order = true")
        try:
            yield connection
        except duckdb.OutOfMemoryException as error:
            what = f"the delivery needs more memory at once than the {memory_limit} it may have; nothing of it was stored"
            raise StageError(
                what,
                remedy="raise ingest.memory_limit (3GB was enough for a hundred million judgments), or deliver it in parts, night by night",
            ) from error


def _write_both(connection: duckdb.DuckDBPyConnection, directory: Path) -> dict[str, int]:
    """Write the new records of both kinds at once; how many there are of each."""
    with ThreadPoolExecutor() as pool, connection.cursor() as one, connection.cursor() as other:
        judgments = pool.submit(_write_new, one, "votes", JUDGMENT, directory / JUDGMENTS)
        comparisons = pool.submit(_write_new, other, "pairs", COMPARISON, directory / COMPARISONS)
        return {"judgments": judgments.result(), "comparisons": comparisons.result()}


def _write_new(connection: duckdb.DuckDBPyConnection, what: str, kind: RecordKind, path: Path) -> int:
    """Write the new records of a kind in the order of delivery, group by group, each put in order in memory; how many there are."""
    connection.execute("set timezone = 'UTC'")
    found = (
        f"select place from (select place, row_number() over (order by place) - 1 as n from settled_{what}) where n % {ROWS_PER_GROUP} = 0"
    )
    lows = [low for (low,) in connection.execute(f"{found} order by place").fetchall()]
    columns = ", ".join(kind.schema.names)
    readers = (
        connection.sql(f"select {columns} from new_{what}({low}, {high}) order by place").to_arrow_reader(ROWS_PER_GROUP)
        for low, high in pairwise([*lows, EVERY_PLACE[1]])
    )
    return write_stream(kind, chain.from_iterable(readers), path)


def _write_quarantine(connection: duckdb.DuckDBPyConnection, delivery: Delivery, screening: Screening, path: Path) -> None:
    """The rows that were not accepted, as they stood in their files, in the order of delivery."""
    rejected = {row: (reason, detail) for row, reason, detail in connection.execute("select row, reason, detail from rejected").fetchall()}
    raw = {row: screening.raw(delivery.file_of(row).source.name, text) for row, text in raw_rows(delivery, rejected).items()}
    rows = [
        quarantined(delivery.file_of(row), row, reason, FORGOTTEN if raw[row] == FORGOTTEN else detail, raw[row])
        for row, (reason, detail) in rejected.items()
    ]
    connection.register("turned_away", pa.Table.from_pylist(rows, schema=REFUSED))
    columns = ", ".join(QUARANTINE.schema.names)
    found = connection.sql(f"select {columns} from (from {parquet(delivery.refused)} union all from turned_away) order by row")
    write_stream(QUARANTINE, found.to_arrow_reader(ROWS_PER_GROUP), path)


def _per_file(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> list[FileCounts]:
    """Rows read, accepted, quarantined and known of each file; every row that was read must have exactly one fate."""
    connection.register("read_files", pa.table({"first_row": pa.array([file.first_row for file in delivery.files], pa.int64())}))
    found = connection.execute(FATES_SQL.format(refused=parquet(delivery.refused), row_bits=2 * PLACE_BITS)).fetchall()
    fates = {first_row: dict(zip(FATES, counts, strict=True)) for first_row, *counts in found}
    files: list[FileCounts] = []
    for file in delivery.files:
        counts = fates.get(file.first_row, dict.fromkeys(FATES, 0))
        if sum(counts.values()) != file.rows:
            where, remedy = f"{file.source.name}: {file.name}", "nothing was stored; please report this"
            raise IntegrityError(f"{file.rows} rows were read, but {counts} counted", where=where, remedy=remedy)
        if file.rows:
            rows = {f"rows_{fate}": count for fate, count in counts.items()}
            files.append({"source": file.source.name, "source_file": file.name, "rows_read": file.rows, **rows})
    return sorted(files, key=lambda file: (file["source"], file["source_file"]))


FATES_SQL = """
with quarantined as (select row from {refused} union all select row from rejected),
accepted as (select place >> {row_bits} as row from settled_votes union select place >> {row_bits} from settled_pairs),
fates as (
    select row, 'accepted' as fate from accepted
    union all
    select row, 'quarantined' from quarantined
    union all
    select distinct row, 'known' from candidates anti join accepted using (row) anti join quarantined using (row)
)
select first_row, count(*) filter (fate = 'accepted'), count(*) filter (fate = 'quarantined'), count(*) filter (fate = 'known')
from fates asof join read_files on fates.row > read_files.first_row
group by all
"""


ingest_stage = stage("ingest")(ingest)

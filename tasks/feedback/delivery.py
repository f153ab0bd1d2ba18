"""A delivery, read once from end to end: every row of every source as a candidate in scratch files, or refused with a reason.

Nothing is held but the block that is being read, however long the files are.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.records import QUARANTINE
from tasks.feedback.candidates import CandidateFiles, Candidates, CandidateWriter, identified
from tasks.privacy.screening import Screening
from tasks.progress import StageProgress, emit
from tasks.sources import FORMATS, places, plain
from tasks.sources.columns import Read, as_read
from tasks.sources.files import json_line, refuse_other_encodings
from tasks.sources.formats import native
from tasks.sources.rows import BadRow, GoodRow, Row
from tasks.sources.streams import following, open_bytes, reading

T = TypeVar("T")
R = TypeVar("R")
CHUNK = 20_000
"""Rows that become columns together."""
WORKERS = min(4, os.cpu_count() or 1)
"""Blocks of a file that are worked on at once; each takes some ten times its bytes of memory."""


class Source(NamedTuple):
    """Where rows come from: the name of the source, its format, its path, and the slice of rows that name none."""

    name: str
    format: str
    path: Path
    slice: str | None


@dataclass
class ReadFile:
    """One file of the delivery."""

    source: Source
    name: str
    first_row: int
    """Number among the rows of all files of the file's row 0."""
    lines: int = 0
    """The highest row number met in it."""
    rows: int = 0
    """Rows read, good and bad."""

    def number(self, row: int) -> int:
        """Number in the file of a row of the delivery."""
        return row - self.first_row


@dataclass
class Delivery:
    """What was read."""

    candidates: CandidateFiles
    refused: Path
    """Parquet: the rows that could not be read, as quarantine records with their row among all rows."""
    files: list[ReadFile] = field(default_factory=list)

    def file_of(self, row: int) -> ReadFile:
        """The file in which a row of the delivery stood."""
        return next(file for file in reversed(self.files) if file.first_row < row)


REFUSED = pa.schema([pa.field("row", pa.int64()), *QUARANTINE.schema])


def read_delivery(sources: Sequence[Source], scratch: Path, connection: duckdb.DuckDBPyConnection, screening: Screening) -> Delivery:
    """Read every file of every source.

    Args:
        sources: what is read, in this order.
        scratch: folder for the files that are written on the way.
        connection: does the work.
        screening: every row goes through it before anything else is known of it.

    Raises:
        InputError: a file is missing, cannot be read, or has the wrong columns.
    """
    candidates = CandidateFiles(scratch / "candidates.parquet", scratch / "texts.parquet")
    delivery = Delivery(candidates, scratch / "refused.parquet")
    writer = CandidateWriter(delivery.candidates, connection)
    every = [path for source in sources for path in FORMATS[source.format].files(source.path)]
    with pq.ParquetWriter(delivery.refused, REFUSED, compression="zstd") as refused, following(every) as reached:
        for source in sources:
            for file, chunk in _chunks(source, delivery, connection, screening):
                if chunk.good.rows.num_rows:
                    writer.write(chunk.good)
                if chunk.bad:
                    rows = [quarantined(file, file.first_row + bad.number, bad.reason, bad.detail, bad.raw) for bad in chunk.bad]
                    refused.write_table(pa.Table.from_pylist(rows, schema=REFUSED))
                rows_read = sum(read.rows for read in delivery.files)
                emit(StageProgress(reached.done, reached.total, {"rows": rows_read, "now in": file.name}, in_bytes=True))
    writer.close()
    return delivery


class Chunk(NamedTuple):
    """Some rows of one file."""

    good: Candidates
    bad: list[BadRow]


def _chunks(
    source: Source, delivery: Delivery, connection: duckdb.DuckDBPyConnection, screening: Screening
) -> Iterator[tuple[ReadFile, Chunk]]:
    """The rows of a source, file by file; the files are added to the delivery as they are met."""
    if source.format == "native":
        yield from _native(source, delivery, connection, screening)
        return
    files: dict[str, ReadFile] = {}
    rows = FORMATS[source.format].parse(source.path, source.slice)
    while batch := list(islice(rows, CHUNK)):
        for name in dict.fromkeys(name for name, _ in batch):
            file = files.get(name) or files.setdefault(name, _begin(delivery, source, name))
            for chunk in _in_chunks(file, (row for of, row in batch if of == name), connection, screening):
                yield file, chunk


def _begin(delivery: Delivery, source: Source, name: str) -> ReadFile:
    before = delivery.files[-1] if delivery.files else None
    file = ReadFile(source, name, before.first_row + before.lines + 1 if before else 0)  # also of an empty file
    delivery.files.append(file)
    return file


def _in_chunks(file: ReadFile, rows: Iterable[Row], connection: duckdb.DuckDBPyConnection, screening: Screening) -> Iterator[Chunk]:
    screened = (row for _, row in screening.rows(file.source.name, file.source.slice, ((file.name, row) for row in rows)))
    while batch := list(islice(screened, CHUNK)):
        file.lines = max(file.lines, *(row.number for row in batch))
        file.rows += len(batch)
        good = _identified(connection, as_read(row for row in batch if isinstance(row, GoodRow)), file)
        yield Chunk(good, [row for row in batch if isinstance(row, BadRow)])


def _identified(connection: duckdb.DuckDBPyConnection, read: Read, file: ReadFile) -> Candidates:
    return identified(connection, read, source=file.source.name, source_file=file.name, first_row=file.first_row)


class Piece(NamedTuple):
    """Some lines of a file of the native format; or some rows of one that is not JSON lines, already read."""

    file: ReadFile
    columns: native.Columns
    content: plain.Lines | Chunk


def _pieces(source: Source, delivery: Delivery, connection: duckdb.DuckDBPyConnection, screening: Screening) -> Iterator[Piece]:
    """The files of a native source, piece by piece."""
    for name, path in places.opened(source.path):
        file, columns = _begin(delivery, source, name), native.Columns(path)
        if not native.is_json_lines(path):
            for chunk in _in_chunks(file, native.parse_file(path, source.slice), connection, screening):
                yield Piece(file, columns, chunk)
            continue
        refuse_other_encodings(path)
        with reading(path), open_bytes(path) as stream:
            for lines in plain.lines_of(stream):
                file.lines = lines.last
                yield Piece(file, columns, lines)


def _native(
    source: Source, delivery: Delivery, connection: duckdb.DuckDBPyConnection, screening: Screening
) -> Iterator[tuple[ReadFile, Chunk]]:
    """The native format: plain lines as columns, several pieces at once, of one file or of many; others one by one."""

    def taken_apart(piece: Piece) -> tuple[Chunk, list[tuple[int, bytes]]]:
        if isinstance(piece.content, Chunk):
            return piece.content, []
        with connection.cursor() as own:
            own.execute("set timezone = 'UTC'")
            block = plain.sort_out(piece.content, own, source.slice, screening.needs_a_look)
            return Chunk(_identified(own, block.plain, piece.file), []), block.others

    met: list[native.Columns] = []
    for (file, columns, content), (chunk, others) in ahead(taken_apart, _pieces(source, delivery, connection, screening)):
        if isinstance(content, plain.Lines) and chunk.good.rows.num_rows:
            columns.see_columns(set(native.REQUIRED))
            file.rows += chunk.good.rows.num_rows
        yield file, chunk
        for one_by_one in _in_chunks(file, _others(others, columns, source.slice), connection, screening):
            yield file, one_by_one
        met = [*met, columns] if columns not in met[-1:] else met
    for columns in met:
        columns.check()


def ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Every item with what becomes of it, in their order; the next ones are worked on meanwhile, in threads."""
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting: deque[tuple[T, Future[R]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > WORKERS:
                    first, found = waiting.popleft()
                    yield first, found.result()
            while waiting:
                first, found = waiting.popleft()
                yield first, found.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _others(lines: Iterable[tuple[int, bytes]], columns: native.Columns, default_slice: str | None) -> Iterator[Row]:
    for number, line in lines:
        found = json_line(number, line)
        columns.see(found)
        yield native.judged(found, default_slice)


def quarantined(file: ReadFile, row: int, reason: str, detail: str, raw: str) -> dict[str, object]:
    """A row of the delivery as a quarantine record, in the schema `REFUSED`."""
    where = {"source": file.source.name, "source_file": file.name, "source_row": file.number(row)}
    return {"row": row, **where, "reason": reason, "detail": detail, "raw": raw}


def raw_rows(delivery: Delivery, wanted: Mapping[int, object]) -> dict[int, str]:
    """The rows of these numbers among all rows, as they stood in their files; the files that hold them are read again."""
    found: dict[int, str] = {}
    for source in dict.fromkeys(delivery.file_of(row).source for row in wanted):
        files = {file.name: file for file in delivery.files if file.source == source}
        for name, row in FORMATS[source.format].parse(source.path, source.slice):
            if (number := files[name].first_row + row.number) in wanted:
                found[number] = row.raw
    return found

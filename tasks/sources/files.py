"""Reading source files row by row: JSON lines, CSV and Parquet, plain or gzipped. A broken row never costs the others."""

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import InputError, examples
from tasks.sources.rows import BadRow, raw_text

CHECK_PATH = "check the source's path in the recipe, or give --data"

Parsed = tuple[int, str, Any]
"""Number, raw text and content of a source row."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong with a file as a whole into an `InputError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError("a source file is missing", where=str(path), remedy=CHECK_PATH) from error
    except (OSError, EOFError, zlib.error, pa.ArrowException, csv.Error) as error:
        raise InputError(f"a source file cannot be read: {error}", where=str(path), remedy="export or copy the file again") from error


def listed(path: Path, names: Iterable[str]) -> list[Path]:
    """The named files of a folder; an `InputError` when one is missing."""
    paths = [path / name for name in names]
    if missing := [file.name for file in paths if not file.is_file()]:
        raise InputError(f"source files are missing: {examples(missing)}", where=str(path), remedy=CHECK_PATH)
    return paths


def open_bytes(path: Path) -> BinaryIO:
    """A plain or gzipped file, as bytes."""
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.GzipFile(path, "rb"))
    return path.open("rb")


def json_lines(path: Path) -> Iterator[Parsed | BadRow]:
    """The lines of a JSON lines file with their numbers; empty lines are no rows, a broken one is a bad row."""
    with reading(path), open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            content = line.removeprefix(b"\xef\xbb\xbf").strip()
            if content:
                yield json_line(number, content)


def json_line(number: int, line: bytes) -> Parsed | BadRow:
    """One line that is not empty, with its number."""
    raw = line.decode("utf-8", "backslashreplace")
    try:
        return number, raw, json.loads(line.decode())
    except UnicodeDecodeError as error:
        return BadRow(number, raw, "not_utf8", f"the line is not UTF-8: {error.reason} at byte {error.start}")
    except (ValueError, RecursionError) as error:
        return BadRow(number, raw, "invalid_json", f"the line is not valid JSON: {error}")


def json_array(path: Path) -> Iterator[Parsed]:
    """The elements of a JSON file that is one array."""
    with reading(path), open_bytes(path) as file:
        content = file.read()
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not valid JSON: {error}", where=str(path), remedy="export or copy the file again") from error
    if not isinstance(rows, list):
        raise InputError("expected a JSON array of rows", where=str(path), remedy="export the rows as one array")
    for number, row in enumerate(rows, 1):
        yield number, raw_text(row), row


def csv_rows(path: Path) -> tuple[list[str], Iterator[Parsed | BadRow]]:
    """The header of a CSV file, and its records; one with too many or too few fields is a bad row."""
    with reading(path), _open_csv(path) as text:
        header = next(csv.reader(text), None)
    if header is None:
        raise InputError("the file is empty: it has no header", where=str(path), remedy="export it again, with a header")
    return header, _csv_rows(path, header)


def _csv_rows(path: Path, header: list[str]) -> Iterator[Parsed | BadRow]:
    with reading(path), _open_csv(path) as text:
        records = csv.reader(text)
        next(records)
        for number, record in enumerate((record for record in records if record), 1):
            if len(record) == len(header):
                row = dict(zip(header, record, strict=True))
                yield number, raw_text(row), row
            else:
                yield BadRow(number, raw_text(record), "wrong_number_of_fields", f"{len(record)} fields where the header has {len(header)}")


def _open_csv(path: Path) -> TextIO:
    """A CSV file as text; what is not UTF-8 becomes lone surrogates, which no text value may have: the row is quarantined for them."""
    csv.field_size_limit(sys.maxsize)
    return io.TextIOWrapper(open_bytes(path), encoding="utf-8-sig", errors="surrogateescape", newline="")


def parquet_rows(path: Path) -> tuple[list[str], Iterator[Parsed]]:
    """The columns of a Parquet file, and its rows."""
    with reading(path), pq.ParquetFile(path) as file:
        return list(file.schema_arrow.names), _parquet_rows(path)


def _parquet_rows(path: Path) -> Iterator[Parsed]:
    number = 0
    with reading(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, raw_text(row), row


def require_columns(path: Path, found: Iterable[str], required: Iterable[str]) -> None:
    """An `InputError` that names the columns a whole file lacks."""
    if missing := [column for column in required if column not in set(found)]:
        raise InputError(
            f"the file has no column {examples(missing)}; its columns are {examples(sorted(found))}",
            where=str(path),
            remedy="rename the columns, or choose the source format that fits the file",
        )

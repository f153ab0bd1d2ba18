"""Reading source files row by row: JSON lines, JSON, CSV, TSV and Parquet. A broken row never costs the others.

Everything is read as a stream, with one exception: a JSON file that is one array is parsed as a whole.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow.parquet as pq

from data_contracts.errors import InputError, examples
from tasks.sources.rows import BadRow, raw_text
from tasks.sources.streams import CHECK_PATH, COPY_AGAIN, File, bare_name, note, on_disk, open_bytes, reading

LONGEST_ROW = 64 * 2**20
"""Bytes of a JSON line, or characters of a CSV field; a row that is longer is no row of text feedback."""
LARGEST_ARRAY = 2 * 2**30
"""Bytes of a JSON file that is one array, expanded."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

Parsed = tuple[int, str, Any]
"""Number, raw text and content of a source row."""


def rows_of(file: File) -> Iterator[Parsed | BadRow]:
    """The rows of a file of any kind, told by the suffix of its name; the columns of a table are checked by its format."""
    name = bare_name(file.name)
    if name.endswith((".csv", ".tsv")):
        yield from csv_rows(file, "\t" if name.endswith(".tsv") else ",")[1]
    elif name.endswith(".parquet"):
        yield from parquet_rows(file)[1]
    elif name.endswith(".json") and _is_array(file):
        yield from json_array(file)
    else:
        yield from json_lines(file)


def _is_array(file: File) -> bool:
    """Whether a JSON file begins as an array; else it is read as JSON lines, whatever its name."""
    with reading(file), open_bytes(file) as content:
        return content.read(2**16).removeprefix(BYTE_ORDER_MARK).lstrip()[:1] == b"["


def listed(path: Path, names: Iterable[str]) -> list[Path]:
    """The named files of a folder; an `InputError` when one is missing."""
    paths = [path / name for name in names]
    if missing := [file.name for file in paths if not file.is_file()]:
        raise InputError(f"source files are missing: {examples(missing)}", where=str(path), remedy=CHECK_PATH)
    return paths


def json_lines(file: File) -> Iterator[Parsed | BadRow]:
    """The lines of a JSON lines file with their numbers; empty lines are no rows, a broken one is a bad row."""
    refuse_other_encodings(file)
    with reading(file), open_bytes(file) as content:
        for number, line in enumerate(_lines(content), 1):
            stripped = line.removeprefix(BYTE_ORDER_MARK).strip()
            if stripped:
                yield json_line(number, stripped)


def refuse_other_encodings(file: File) -> None:
    """A whole file in another encoding is an error of its own: as UTF-8, each of its rows would be a riddle."""
    with reading(file), open_bytes(file) as content:
        if encoding := OTHER_ENCODINGS.get(content.read(2)):
            raise InputError(f"the file is {encoding}", where=str(file), remedy="export it as UTF-8")


def _lines(content: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; of one that is too long only the beginning, so that no line fills the memory."""
    while line := content.readline(LONGEST_ROW + 1):
        yield line
        while len(line) > LONGEST_ROW and not line.endswith(b"\n"):
            line = content.readline(LONGEST_ROW + 1)


def json_line(number: int, line: bytes) -> Parsed | BadRow:
    """One line that is not empty, with its number."""
    if len(line) > LONGEST_ROW:
        beginning = line[:1000].decode("utf-8", "backslashreplace")
        return BadRow(number, beginning, "row_too_long", f"the line is longer than {LONGEST_ROW} bytes; its beginning is kept")
    raw = line.decode("utf-8", "backslashreplace")
    try:
        return number, raw, json.loads(line.decode())
    except UnicodeDecodeError as error:
        return BadRow(number, raw, "not_utf8", f"the line is not UTF-8: {error.reason} at byte {error.start}")
    except (ValueError, RecursionError) as error:
        return BadRow(number, raw, "invalid_json", f"the line is not valid JSON: {error}")


def json_array(file: File) -> Iterator[Parsed]:
    """The elements of a JSON file that is one array; the only kind of file that is held in memory as a whole."""
    with reading(file), open_bytes(file) as stream:
        content = stream.read(LARGEST_ARRAY + 1)
    if len(content) > LARGEST_ARRAY:
        raise InputError(f"the JSON array is larger than {LARGEST_ARRAY} bytes", where=str(file), remedy="export it as JSON lines")
    try:
        rows = json.loads(content.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError) as error:
        raise InputError(f"not valid JSON: {error}", where=str(file), remedy=COPY_AGAIN) from error
    if not isinstance(rows, list):
        raise InputError("expected a JSON array of rows", where=str(file), remedy="export the rows as one array")
    for number, row in enumerate(rows, 1):
        yield number, raw_text(row), row


def csv_rows(file: File, delimiter: str = ",") -> tuple[list[str], Iterator[Parsed | BadRow]]:
    """The header of a CSV or TSV file, and its records; one with too many or too few fields is a bad row."""
    refuse_other_encodings(file)
    with reading(file), _open_csv(file) as text:
        header = next(csv.reader(text, delimiter=delimiter), None)
    if header is None:
        raise InputError("the file is empty: it has no header", where=str(file), remedy="export it again, with a header")
    if twice := sorted({column for column in header if header.count(column) > 1}):
        raise InputError(f"the header names {examples(twice)} twice", where=str(file), remedy="give every column its own name")
    return header, _csv_rows(file, header, delimiter)


def _csv_rows(file: File, header: list[str], delimiter: str) -> Iterator[Parsed | BadRow]:
    with reading(file), _open_csv(file) as text:
        records = csv.reader(text, delimiter=delimiter)
        next(records)
        for number, record in enumerate((record for record in records if record), 1):
            if len(record) == len(header):
                row = dict(zip(header, record, strict=True))
                yield number, raw_text(row), row
            else:
                yield BadRow(number, raw_text(record), "wrong_number_of_fields", f"{len(record)} fields where the header has {len(header)}")


def _open_csv(file: File) -> TextIO:
    """A CSV file as text; what is not UTF-8 becomes lone surrogates, which no text value may have: the row is quarantined for them."""
    csv.field_size_limit(LONGEST_ROW)
    return io.TextIOWrapper(open_bytes(file), encoding="utf-8-sig", errors="surrogateescape", newline="")


def parquet_rows(file: File) -> tuple[list[str], Iterator[Parsed]]:
    """The columns of a Parquet file, and its rows."""
    with reading(file), pq.ParquetFile(on_disk(file)) as table:
        return list(table.schema_arrow.names), _parquet_rows(file)


def _parquet_rows(file: File) -> Iterator[Parsed]:
    with reading(file), pq.ParquetFile(on_disk(file)) as table:
        rows = chain.from_iterable(batch.to_pylist() for batch in table.iter_batches(batch_size=1024))
        for number, row in enumerate(rows, 1):
            yield number, raw_text(row), row
    note(on_disk(file), on_disk(file).stat().st_size)


def printable(text: str) -> str:
    """A text from a file as it may stand in a message, whatever bytes it was made of."""
    return text.encode("utf-8", "backslashreplace").decode()[:80]


def require_columns(file: File, found: Iterable[str], required: Iterable[str]) -> None:
    """An `InputError` that names the columns a whole file lacks."""
    columns = {str(column) for column in found}
    if missing := [column for column in required if column not in columns]:
        raise InputError(
            f"the file has no column {examples(missing)}; its columns are {examples(map(printable, sorted(columns)))}",
            where=str(file),
            remedy="rename the columns, or choose the source format that fits the file",
        )

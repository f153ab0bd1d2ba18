"""Native JSON lines at full speed: plain rows are read as columns, by the block; every other row is left to `native`.

A row is plain when it surely reads the same here and there: known columns, each once, of the expected JSON types, with values that
need no mending. What a row means, and why one is bad, is decided by `native` alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.records import ALL_SLICES, ANNOTATOR_KINDS, VERDICTS
from tasks.sources.columns import READ
from tasks.sources.files import BYTE_ORDER_MARK
from tasks.sources.rows import LONGEST_REVISION, ROLES

BLOCK = 32 * 2**20
"""Bytes that are read at once; a longer line makes its block longer."""
PARTS = 8
"""Record batches per block: DuckDB reads them in parallel."""

TEXTS = ("response_a", "response_b")
NAMES = ("annotator_id", "comparison_id", "judgment_id", "slice", "model_a", "model_b", "ranking_id", "tie_reason")
CHOICES = {
    "verdict": VERDICTS,
    "annotator_kind": ANNOTATOR_KINDS,
    "op": ("assert",),
    "presented_first": ("a", "b"),
    "gold_verdict": VERDICTS,
}
AMOUNTS = ("preference_strength", "seconds_spent")
COLUMNS = ("prompt", *TEXTS, *CHOICES, *NAMES, *AMOUNTS, "event_time", "revision")


@dataclass(frozen=True)
class Block:
    """Some lines of a file."""

    plain: pa.Table
    """Rows in the schema `READ`."""
    others: list[tuple[int, bytes]]
    """Numbers and bytes of the lines that are not plain; empty lines are none."""
    lines: int
    """How many lines have been read of the file so far, empty ones and all."""


def blocks(
    file: BinaryIO, connection: duckdb.DuckDBPyConnection, default_slice: str | None, spoilt: Callable[[pa.Table], pa.Array] | None = None
) -> Iterator[Block]:
    """The lines of a file, block by block.

    Args:
        file: the file, open at its beginning.
        connection: does the work; its time zone must be UTC.
        default_slice: slice of rows that name none.
        spoilt: says which rows are not plain after all, given a table in the schema `READ`.
    """
    number = 0
    for data in _whole_lines(file):
        lines = _split(data)
        plain, others = _sort_out(lines, number, connection, default_slice, spoilt)
        number += len(lines)
        yield Block(plain, others, number)


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """The file in blocks that end with a line's end; the byte-order mark is left out."""
    rest = file.read(BLOCK).removeprefix(BYTE_ORDER_MARK)
    while rest:
        more = file.read(BLOCK)
        end = rest.rfind(b"\n") + 1 if more else len(rest)
        if end:
            yield rest[:end]
        rest = rest[end:] + more


def _split(data: bytes) -> pa.Array:
    """The lines of a block, line ends and all, without copying them."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    return pa.Array.from_buffers(pa.large_binary(), len(ends), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data)])


def _sort_out(
    lines: pa.Array,
    before: int,
    connection: duckdb.DuckDBPyConnection,
    default_slice: str | None,
    spoilt: Callable[[pa.Table], pa.Array] | None,
) -> tuple[pa.Table, list[tuple[int, bytes]]]:
    try:
        texts = lines.cast(pa.large_string())
    except pa.ArrowInvalid:  # somewhere the block is not UTF-8: row by row it will be seen where
        return READ.empty_table(), list(_unlike(lines, before, set()))
    block = pa.table({"number": np.arange(before + 1, before + 1 + len(texts)), "line": texts})
    connection.register("block", pa.Table.from_batches(block.to_batches(max_chunksize=len(lines) // PARTS + 1)))
    found: pa.Table = connection.sql(ROWS, params={"default_slice": default_slice}).to_arrow_table()
    connection.unregister("block")
    all_plain = pc.all(found["plain"]).as_py()
    rows = (found if all_plain else found.filter(found["plain"])).drop_columns("plain").cast(READ)
    if spoilt is not None:
        rows = rows.filter(pc.invert(spoilt(rows)))
    return rows, [] if rows.num_rows == len(lines) else list(_unlike(lines, before, set(rows["source_row"].to_pylist())))


def _unlike(lines: pa.Array, before: int, taken: set[int]) -> Iterator[tuple[int, bytes]]:
    """The lines that were not taken and are not empty."""
    for number, line in enumerate(lines, before + 1):
        if number not in taken and (content := line.as_py().removeprefix(BYTE_ORDER_MARK).strip()):
            yield number, content


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


PATHS = "[" + _listed(tuple(f"$.{column}" for column in COLUMNS)) + "]"
PLACES = {column: place for place, column in enumerate(COLUMNS, 1)}
SPACE = r"\s\v\x1c-\x1f\x{85}\p{Z}"
"""What Python's `strip` takes away, as a class of DuckDB's regular expressions."""
NAME = f"[^{SPACE}](?s:.*[^{SPACE}])?"
TIME = r"[12]\d{3}-\d\d-\d\d[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-][01]\d:[0-5]\d)?"
TIME_SQL = f"regexp_full_match(event_time, '{TIME}') and try_cast(event_time as timestamptz) is not null"


def _types(columns: tuple[str, ...], *types: str, required: bool = False) -> str:
    """SQL: each of the columns has one of these JSON types; or is absent or null, unless it is required."""
    absent = "" if required else " or types[{0}] is null or types[{0}] = 'NULL'"
    return " and ".join(f"(types[{PLACES[c]}] in ({_listed(types)}){absent.format(PLACES[c])})" for c in columns)


def _values(columns: tuple[str, ...], condition: str) -> str:
    """SQL: a condition that holds for each of the columns where it is there; `{0}` stands for the column."""
    return " and ".join(f"({column} is null or {condition.replace('{0}', column)})" for column in columns)


def _column(name: str) -> str:
    """SQL for a column's text; null where JSON says null."""
    return f"if(types[{PLACES[name]}] = 'NULL', null, texts[{PLACES[name]}]) as {name}"


CHOSEN = " and ".join(f"({column} is null or {column} in ({_listed(allowed)}))" for column, allowed in CHOICES.items())
ROLE = f"coalesce(m.role in ({_listed(ROLES)}), false) and m.content is not null"
TYPES_FIT = " and ".join(
    (
        _types(("verdict",), "VARCHAR", required=True),
        _types(("prompt",), "VARCHAR", "ARRAY"),
        _types((*TEXTS, *CHOICES, "event_time"), "VARCHAR"),
        _types(NAMES, "VARCHAR", "UBIGINT"),
        _types(AMOUNTS, "UBIGINT", "DOUBLE"),
        _types(("revision",), "UBIGINT"),
    )
)
VALUES_FIT = " and ".join(
    (
        CHOSEN,
        _values(NAMES, f"regexp_full_match({{0}}, '{NAME}')"),
        _values(("slice",), f"slice <> '{ALL_SLICES}'"),
        _values(AMOUNTS, "(isfinite(try_cast({0} as double)) and try_cast({0} as double) >= 0)"),
        _values(("event_time",), TIME_SQL),
        _values(("revision",), f"try_cast(revision as ubigint) <= {LONGEST_REVISION}"),
    )
)
ROWS = rf"""
with objects as (
    select number, if(json_valid(line), line, null) as line from block
),
seen as materialized (
    select number, json_type(line, {PATHS}) as types, len(json_keys(line)) as keys, json_extract_string(line, {PATHS}) as texts
    from objects
),
named as materialized (
    select number, {", ".join(_column(name) for name in COLUMNS if name != "prompt")},
        coalesce(types[1] = 'ARRAY', false) as spoken, if(types[1] = 'NULL', null, texts[1]) as prompt,
        keys > 0 and keys = list_count(types) and {TYPES_FIT} as types_fit  -- every key is a known column, and stands once
    from seen
),
prompted as (
    select * exclude (prompt), prompt is null as blank,
        case
            when spoken then from_json(prompt, '[{{"role": "VARCHAR", "content": "VARCHAR"}}]')
            when regexp_matches(prompt, '[^{SPACE}]') then [struct_pack(role := 'user', content := prompt)]
        end as prompt,
        not spoken
            or regexp_full_match(json_structure(if(spoken, prompt, null))::varchar, '\[\{{"role":"VARCHAR","content":"VARCHAR"\}}\]')
            and len(list_filter(from_json(if(spoken, prompt, null), '["JSON"]'), lambda m: len(json_keys(m)) <> 2)) = 0
            as messages_fit
    from named
)
select
    number as source_row, 0::bigint as nth_pair, 0::bigint as nth_vote,
    comparison_id as pair_key, ranking_id as ranking_key, judgment_id as vote_key, try_cast(revision as bigint) as own_revision,
    prompt, response_a, response_b, coalesce(slice, $default_slice) as slice, model_a, model_b, gold_verdict,
    'assert' as op, annotator_id, coalesce(annotator_kind, 'human') as annotator_kind, verdict, tie_reason,
    try_cast(preference_strength as double) as preference_strength, presented_first,
    try_cast(event_time as timestamptz) as event_time, try_cast(seconds_spent as double) as seconds_spent,
    coalesce(types_fit and messages_fit and {VALUES_FIT} and case
        when blank then comparison_id is not null and response_a is null and response_b is null  -- its texts come another time
        else len(prompt) > 0 and len(list_filter(prompt, lambda m: not ({ROLE}))) = 0
            and response_a is not null and response_b is not null
    end, false) as plain
from prompted
"""
"""SQL: every line of a block as a row in the schema `READ`, and whether it is plain. What is read from the JSON is
materialised, and nothing is filtered: DuckDB would push the conditions down to the JSON and read it again for each."""

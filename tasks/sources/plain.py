"""Native JSON lines at full speed: plain rows are read as columns, by the block; every other row is left to `native`.

A row is plain when it surely reads the same here and there: known columns, each once, of the expected JSON types, with values that
need no mending. What a row means, and why one is bad, is decided by `native` alone. Texts that rows share are looked at once.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data_contracts.records import ALL_SLICES, ANNOTATOR_KINDS, VERDICTS
from tasks.sources.columns import ROWS, TEXTS, Read, nothing
from tasks.sources.files import BYTE_ORDER_MARK
from tasks.sources.rows import LONGEST_REVISION, ROLES

BLOCK = 16 * 2**20
"""Bytes that are read at once; a longer line makes its block longer."""

NAMES = ("annotator_id", "comparison_id", "judgment_id", "slice", "model_a", "model_b", "ranking_id", "tie_reason")
CHOICES = {
    "verdict": VERDICTS,
    "annotator_kind": ANNOTATOR_KINDS,
    "op": ("assert",),
    "presented_first": ("a", "b"),
    "gold_verdict": VERDICTS,
}
AMOUNTS = ("preference_strength", "seconds_spent")
COLUMNS = (*TEXTS.names, *CHOICES, *NAMES, *AMOUNTS, "event_time", "revision")


@dataclass(frozen=True)
class Lines:
    """Some lines of a file."""

    before: int
    """How many lines of the file stand before them."""
    lines: pa.Array
    """Their bytes, empty ones and line ends and all."""

    @property
    def last(self) -> int:
        """Number of the last line."""
        return self.before + len(self.lines)


@dataclass(frozen=True)
class Block:
    """What some lines of a file say."""

    plain: Read
    others: list[tuple[int, bytes]]
    """Numbers and bytes of the lines that are not plain; empty lines are none."""


def lines_of(file: BinaryIO) -> Iterator[Lines]:
    """The lines of a file, open at its beginning, block by block; the byte-order mark is left out."""
    before, rest = 0, bytearray()
    while True:
        data = rest + bytearray(BLOCK)
        read = file.readinto(memoryview(data)[len(rest) :])  # type: ignore[attr-defined]
        end = len(rest) + read
        first = len(BYTE_ORDER_MARK) if not before and data.startswith(BYTE_ORDER_MARK) else 0
        whole = data.rfind(b"\n", first, end) + 1 if read else end
        if whole > first:
            found = Lines(before, _split(data, first, whole))
            yield found
            before = found.last
        if not read:
            return
        rest = data[max(whole, 0) : end]


def _split(data: bytearray, first: int, end: int) -> pa.Array:
    """The lines of a part of a block, line ends and all, without copying them."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8, end - first, first) == ord("\n")) + first + 1
    if not len(ends) or ends[-1] != end:
        ends = np.append(ends, end)
    offsets = np.concatenate([[first], ends]).astype(np.int64)
    return pa.Array.from_buffers(pa.large_binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def sort_out(
    found: Lines,
    connection: duckdb.DuckDBPyConnection,
    default_slice: str | None,
    spoilt: Callable[[pa.Table], pa.Array] | None = None,
) -> Block:
    """What lines say, as far as they are plain.

    Args:
        found: the lines.
        connection: does the work; its time zone must be UTC.
        default_slice: slice of rows that name none.
        spoilt: says which texts, given in the schema `TEXTS`, take it from their rows that they are plain.
    """
    try:
        lines = found.lines.cast(pa.large_string())
    except pa.ArrowInvalid:  # somewhere the block is not UTF-8: row by row it will be seen where
        return Block(nothing(), _unlike(found, np.arange(len(found.lines))))
    block = pa.table({"number": np.arange(found.before + 1, found.last + 1), "line": lines})
    told = _asked(connection, LINES, block, {"default_slice": default_slice})
    plain = np.array(told["plain"])
    told = told if plain.all() else told.filter(told["plain"])
    nth_texts, said = _distinct(told.select(TEXTS.names))
    texts = _asked(connection, DECODED, said, {})
    fit = texts["fits"].to_numpy()
    if spoilt is not None:
        fit = fit & ~spoilt(texts.select(TEXTS.names)).to_numpy(zero_copy_only=False)
    rows = told.drop_columns(["plain", *TEXTS.names]).append_column("nth_texts", pa.array(nth_texts)).select(ROWS.names).cast(ROWS)
    fitting = fit[nth_texts]
    plain[plain] = fitting
    read = Read(rows if fitting.all() else rows.filter(pa.array(fitting)), texts.select(TEXTS.names).cast(TEXTS))
    return Block(read, _unlike(found, np.flatnonzero(~plain)))


def _asked(connection: duckdb.DuckDBPyConnection, question: str, block: pa.Table, parameters: dict[str, object]) -> pa.Table:
    """What SQL makes of a block."""
    connection.register("block", block)
    found: pa.Table = connection.sql(question, params=parameters).to_arrow_table()
    connection.unregister("block")
    return found


def _distinct(texts: pa.Table) -> tuple[npt.NDArray[np.int64], pa.Table]:
    """Of every row the number of its texts, and each number's texts."""
    key = np.zeros(texts.num_rows, np.int64)
    for column in texts.columns:  # a block has fewer than 2**20 plain rows, so the key of all three stays below 2**63
        encoded = column.combine_chunks().dictionary_encode("encode")
        key = key * len(encoded.dictionary) + encoded.indices.to_numpy()
    _, first, nth = np.unique(key, return_index=True, return_inverse=True)
    return nth, texts.take(first)


def _unlike(found: Lines, places: npt.NDArray[np.int64]) -> list[tuple[int, bytes]]:
    """The lines at these places, with their numbers, that are not empty."""
    stripped = ((place, found.lines[place].as_py().removeprefix(BYTE_ORDER_MARK).strip()) for place in places.tolist())
    return [(found.before + 1 + place, line) for place, line in stripped if line]


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


PATHS = "[" + _listed(tuple(f"$.{column}" for column in COLUMNS)) + "]"
AS_JSON = (*TEXTS.names, *AMOUNTS, "revision")
"""Columns that are read as JSON, so that their types show: `5` is no text and `"5"` no number."""
SHAPE = json.dumps({column: "JSON" if column in AS_JSON else "VARCHAR" for column in COLUMNS})
SPACE = r"\s\v\x1c-\x1f\x{85}\p{Z}"
"""What Python's `strip` takes away, as a class of DuckDB's regular expressions."""
NAME = f"[^{SPACE}](?s:.*[^{SPACE}])?"
OTHER_VALUE = r"(?i:true|false|nan|inf|infinity)|\d{20,}|\d+[.eE](?s:.*)|[-{\[](?s:.*)"
"""What a name reads like that may be no text or whole number in the JSON."""
TIME = r"[12]\d{3}-\d\d-\d\d[T ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-][01]\d:[0-5]\d)?"
TIME_SQL = f"regexp_full_match(event_time, '{TIME}') and try_cast(event_time as timestamptz) is not null"


def _values(columns: tuple[str, ...], condition: str) -> str:
    """SQL: a condition that holds for each of the columns where it is there; `{0}` stands for the column."""
    return " and ".join(f"({column} is null or {condition.replace('{0}', column)})" for column in columns)


CHOSEN = " and ".join(f"({column} is null or {column} in ({_listed(allowed)}))" for column, allowed in CHOICES.items())
VALUES_FIT = " and ".join(
    (
        CHOSEN,
        _values(NAMES, f"(regexp_full_match({{0}}, '{NAME}') and not regexp_full_match({{0}}, '{OTHER_VALUE}'))"),
        _values(("slice",), f"slice <> '{ALL_SLICES}'"),
        _values(AMOUNTS, "(isfinite(try_cast({0}::varchar as double)) and try_cast({0}::varchar as double) >= 0)"),
        _values(("event_time",), TIME_SQL),
        _values(
            ("revision",), rf"(regexp_full_match(revision, '\d{{1,18}}') and try_cast(revision::varchar as bigint) <= {LONGEST_REVISION})"
        ),
    )
)
TOLD = " + ".join(f"(said.{column} is not null)::int" for column in COLUMNS)
LINES = rf"""
with parsed as (
    select number, line, len(try(json_keys(line))) as keys, try(from_json(line, '{SHAPE}')) as said from block
),
named as (
    select number, said.*,
        if(keys = {TOLD}, true, keys = list_count(try(json_type(line, {PATHS})))) as columns_fit
    from parsed  -- every key is a known column, and stands once; where values are null, this takes a second look
)
select
    number as source_row, 0::bigint as nth_pair, 0::bigint as nth_vote,
    comparison_id as pair_key, ranking_id as ranking_key, judgment_id as vote_key, try_cast(revision::varchar as bigint) as own_revision,
    prompt, response_a, response_b, coalesce(slice, $default_slice) as slice, model_a, model_b, gold_verdict,
    'assert' as op, annotator_id, coalesce(annotator_kind, 'human') as annotator_kind, verdict, tie_reason,
    try_cast(preference_strength::varchar as double) as preference_strength, presented_first,
    try_cast(event_time as timestamptz) as event_time, try_cast(seconds_spent::varchar as double) as seconds_spent,
    coalesce(columns_fit and verdict is not null and {VALUES_FIT} and if(
        prompt is null,
        comparison_id is not null and response_a is null and response_b is null,  -- its texts come another time
        (starts_with(prompt, '"') or starts_with(prompt, '[')) and starts_with(response_a, '"') and starts_with(response_b, '"')
    ), false) as plain
from named
"""
"""SQL: every line of a block in the columns of `ROWS`, its texts as JSON, and whether it is plain. Nothing is filtered: DuckDB would
push the conditions down to the JSON and read it again for each."""
ROLE = f"coalesce(m.role in ({_listed(ROLES)}), false) and m.content is not null"
DECODED = rf"""
with told as (
    select starts_with(prompt, '[') as spoken, json_extract_string(prompt, '$') as content, prompt,
        json_extract_string(response_a, '$') as response_a, json_extract_string(response_b, '$') as response_b
    from block
),
prompted as (
    select response_a, response_b, prompt is null as blank,
        case
            when spoken then from_json(prompt, '[{{"role": "VARCHAR", "content": "VARCHAR"}}]')
            when regexp_matches(content, '[^{SPACE}]') then [struct_pack(role := 'user', content := content)]
        end as prompt,
        not spoken
            or regexp_full_match(json_structure(if(spoken, prompt, null))::varchar, '\[\{{"role":"VARCHAR","content":"VARCHAR"\}}\]')
            and len(list_filter(from_json(if(spoken, prompt, null), '["JSON"]'), lambda m: len(json_keys(m)) <> 2)) = 0
            as messages_fit
    from told
),
judged as (
    select prompt, response_a, response_b,
        blank or coalesce(messages_fit and len(prompt) > 0 and len(list_filter(prompt, lambda m: not ({ROLE}))) = 0, false) as fits
    from prompted
)
select * replace (if(fits, prompt, null) as prompt) from judged
"""
"""SQL: texts out of their JSON, and whether the prompt needs no mending."""

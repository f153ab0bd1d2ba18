"""Candidates: the rows of a delivery as columns, with the ids of what they compare, before anything is matched with the lake.

A candidate is one vote with its pair, as its source row gave them, or a pair without a vote. However a row was read, its ids are
made here, by one SQL statement, so that equal content has equal ids in every format.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.sources.columns import READ

ID_DIGITS = 32
PLACE_BITS = 12
"""Bits of a place for the vote within its pair, and as many for the pair within its row; what stands before counts the rows."""
FILLED = ("prompt_id", "prompt", "response_a", "response_b", "model_a", "model_b", "gold_verdict")
"""Columns of a comparison that a later delivery may fill in where they were unknown."""

FEW_VALUES = ["source", "source_file", "slice", "op", "verdict", "annotator_kind", "presented_first"]
"""Columns that are worth a dictionary in the scratch file."""


class CandidateWriter:
    """Writes candidates, chunk by chunk, with their ids and places, into one Parquet file."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self._path, self._connection = path, connection
        self._writer: pq.ParquetWriter | None = None

    def write(self, read: pa.Table, *, source: str, source_file: str, first_row: int) -> None:
        """Add candidates of one file.

        Args:
            read: candidates in the schema `READ`.
            source: name of the source.
            source_file: name of the file.
            first_row: number, among all rows of the delivery, of the file's row 0.
        """
        table = identified(self._connection, read, source=source, source_file=source_file, first_row=first_row)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema, compression="lz4", use_dictionary=FEW_VALUES)
        self._writer.write_table(table)

    def close(self) -> None:
        """Finish the file; without a single chunk an empty one is written."""
        if self._writer is None:
            self.write(READ.empty_table(), source="", source_file="", first_row=0)
        if self._writer is not None:
            self._writer.close()


def identified(connection: duckdb.DuckDBPyConnection, read: pa.Table, *, source: str, source_file: str, first_row: int) -> pa.Table:
    """Candidates with their places and ids, in the orientation of the source's own ids or else of the responses' hashes."""
    connection.register("read_rows", read)
    parameters = {"source": source, "source_file": source_file, "first_row": first_row}
    found: pa.Table = connection.sql(IDENTIFY, params=parameters).to_arrow_table()
    connection.unregister("read_rows")
    return found


def _sides(*columns: str) -> str:
    """The pairs of columns `x_a`, `x_b`, exchanged where `swapped` says so."""
    turned = [f"if(swapped, {x}_b, {x}_a) as {x}_a, if(swapped, {x}_a, {x}_b) as {x}_b" for x in columns]
    return ", ".join(turned)


def other_side(column: str, flag: str = "swapped") -> str:
    """SQL for a column of sides, `a` and `b`, exchanged where a flag is set; a tie and an unknown stay."""
    return f"case when {flag} and {column} = 'a' then 'b' when {flag} and {column} = 'b' then 'a' else {column} end"


def digest(*parts: str) -> str:
    """SQL for the id of several texts: each part's length stands before it, so no two lists of parts read the same; null has none."""
    told = " || ".join(f"coalesce(strlen({part}) || ':' || {part}, '-') || ';'" for part in parts)
    return f"sha256({told})[:{ID_DIGITS}]"


IDENTIFY = f"""
with hashed as (
    select *,
        if(len(prompt) > 0, sha256(to_json(prompt)::varchar)[:{ID_DIGITS}], null) as prompt_id,
        sha256(response_a) as hash_a, sha256(response_b) as hash_b
    from read_rows
),
told as (
    select * exclude (hash_a, hash_b),
        pair_key is null and nth_pair is not null and coalesce(hash_a, '') > coalesce(hash_b, '') as swapped,
        hash_a as text_a, hash_b as text_b
    from hashed
),
oriented as (
    select
        (($first_row + source_row) << {2 * PLACE_BITS}) | (coalesce(nth_pair, 0) << {PLACE_BITS}) | nth_vote as place,
        $first_row + source_row as row,
        $source as source, $source_file as source_file, source_row,
        nth_pair is not null and nth_vote = 0 as leads,
        pair_key is not null as own_key,
        case
            when nth_pair is null then null
            when pair_key is not null then $source || '/' || pair_key
            else {digest("prompt_id", "least(text_a, text_b)", "greatest(text_a, text_b)")}
        end as comparison_id,
        prompt_id, coalesce(slice, $source) as slice, $source || '/' || ranking_key as ranking_id,
        {_sides("text", "response", "model")},
        {other_side("gold_verdict")} as gold_verdict, swapped,
        prompt, vote_key, own_revision, op, annotator_id, annotator_kind,
        {other_side("verdict")} as verdict, tie_reason, preference_strength,
        {other_side("presented_first")} as presented_first, event_time, seconds_spent
    from told
)
select * exclude (vote_key, swapped)
    replace (
        if(leads, prompt, null) as prompt, if(leads, response_a, null) as response_a, if(leads, response_b, null) as response_b,
        if(own_key, text_a, null) as text_a, if(own_key, text_b, null) as text_b  -- only these are compared with what is known
    ),
    case
        when vote_key is not null then $source || '/' || vote_key
        when op is not null and annotator_id is not null and comparison_id is not null and event_time is not null
        then {digest("source", "annotator_id", "comparison_id", "event_time::varchar")}
    end as judgment_id
from oriented
"""


def staged(paths: Sequence[Path]) -> str:
    """SQL for all candidates of files that were written here."""
    listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    return f"read_parquet([{listed}], hive_partitioning = false)"

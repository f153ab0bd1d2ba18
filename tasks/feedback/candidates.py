"""Candidates: the rows of a delivery as columns, with the ids of what they compare, before anything is matched with the lake.

A candidate is one vote with its pair, as its source row gave them, or a pair without a vote. However a row was read, its ids are
made here, by the same SQL, so that equal content has equal ids in every format. Texts are wide, so they are kept apart from the rows,
once for all rows of a chunk that share them, and met again only when records are written.
"""

from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.sources.columns import Read, nothing

ID_DIGITS = 32
PLACE_BITS = 12
"""Bits of a place for the vote within its pair, and as many for the pair within its row; what stands before counts the rows."""
EVERY_PLACE = (0, 2**62)
"""From the first place to beyond the last."""
FILLED = ("prompt_id", "prompt", "response_a", "response_b", "model_a", "model_b", "gold_verdict")
"""Columns of a comparison that a later delivery may fill in where they were unknown."""
UNUSED = np.iinfo(np.int64).max
"""Place of a text that no candidate has."""


class Candidates(NamedTuple):
    """Candidates of one file."""

    rows: pa.Table
    """One row per candidate, with its place, its ids and all that is not a text; `texts_place` says where its texts stand."""
    texts: pa.Table
    """The texts in the source's orientation, each under the place of a candidate that has it."""


class CandidateFiles(NamedTuple):
    """Where the candidates of a delivery are written."""

    rows: Path
    texts: Path


class CandidateWriter:
    """Writes candidates, chunk by chunk, into two Parquet files."""

    def __init__(self, files: CandidateFiles, connection: duckdb.DuckDBPyConnection) -> None:
        no_rows = identified(connection, nothing(), source="", source_file="", first_row=0)
        self._writers = [
            pq.ParquetWriter(
                file, table.schema, compression="lz4", use_dictionary=[name for name in table.schema.names if name in FEW_VALUES]
            )
            for file, table in zip(files, no_rows, strict=True)
        ]

    def write(self, candidates: Candidates) -> None:
        """Add candidates."""
        for writer, table in zip(self._writers, candidates, strict=True):
            writer.write_table(table)

    def close(self) -> None:
        """Finish the files."""
        for writer in self._writers:
            writer.close()


FEW_VALUES = {
    *("source", "source_file", "slice", "op", "verdict", "annotator_id", "annotator_kind", "presented_first", "model_a", "model_b"),
    *("comparison_id", "prompt_id", "text_a", "text_b", "gold_verdict", "tie_reason"),
}
"""Columns that are worth a dictionary in the scratch files."""


def identified(connection: duckdb.DuckDBPyConnection, read: Read, *, source: str, source_file: str, first_row: int) -> Candidates:
    """Candidates with their places and ids, in the orientation of the source's own ids or else of the responses' hashes.

    Args:
        connection: does the work.
        read: rows of one file.
        source: name of the source.
        source_file: name of the file.
        first_row: number, among all rows of the delivery, of the file's row 0.
    """
    connection.register("read_texts", read.texts)
    hashed: pa.Table = connection.sql(HASH_TEXTS).to_arrow_table()
    rows = read.rows
    for name, column in zip(hashed.column_names, hashed.take(rows["nth_texts"].combine_chunks()).columns, strict=True):
        rows = rows.append_column(name, column)
    connection.register("read_rows", rows)
    parameters = {"source": source, "source_file": source_file, "first_row": first_row}
    several = (pc.max(rows["nth_pair"]).as_py() or 0) > 0
    found: pa.Table = connection.sql(IDENTIFY.format(repeat=REPEAT if several else "1"), params=parameters).to_arrow_table()
    connection.unregister("read_rows")
    connection.unregister("read_texts")
    return _with_text_places(found, read.texts)


def _with_text_places(found: pa.Table, texts: pa.Table) -> Candidates:
    """The candidates with the place of their texts: that of the first candidate that has the same."""
    nth = found["nth_texts"].combine_chunks()
    told = nth.is_valid().to_numpy(zero_copy_only=False)
    numbers, places = nth.drop_null().to_numpy(), found["place"].to_numpy()
    first = np.full(texts.num_rows, UNUSED)
    np.minimum.at(first, numbers, places[told])
    used = np.flatnonzero(first < UNUSED)
    in_order = used[np.argsort(first[used])]
    text_places = np.zeros(len(places), np.int64)
    text_places[told] = first[numbers]
    rows = found.drop_columns("nth_texts").append_column("texts_place", pa.array(text_places, mask=~told))
    return Candidates(rows, texts.take(in_order).add_column(0, "texts_place", pa.array(first[in_order])))


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


HASH_TEXTS = f"""
with hashed as (
    select if(len(prompt) > 0, sha256(to_json(prompt)::varchar)[:{ID_DIGITS}], null) as prompt_id,
        sha256(response_a)[:{ID_DIGITS}] as hash_a, sha256(response_b)[:{ID_DIGITS}] as hash_b
    from read_texts
)
select prompt_id, hash_a, hash_b, coalesce(hash_a, '') > coalesce(hash_b, '') as by_hash_swapped,
    {digest("prompt_id", "least(hash_a, hash_b)", "greatest(hash_a, hash_b)")} as content_id
from hashed
"""
"""SQL: the ids of texts, and of the comparison that is known by them alone."""
IDENTIFY = f"""
with told as (
    select * exclude (hash_a, hash_b, by_hash_swapped), hash_a as text_a, hash_b as text_b,
        pair_key is not null as own_key,
        pair_key is null and by_hash_swapped as swapped  -- null where there is no pair
    from read_rows
),
oriented as (
    select
        (($first_row + source_row) << {2 * PLACE_BITS}) | (coalesce(nth_pair, 0) << {PLACE_BITS}) | nth_vote as place,
        $first_row + source_row as row,
        $source as source, $source_file as source_file, source_row,
        nth_pair is not null and nth_vote = 0 as leads, own_key, coalesce(swapped, false) as swapped,
        if(own_key, $source || '/' || pair_key, content_id) as comparison_id,
        prompt_id, coalesce(slice, $source) as slice, $source || '/' || ranking_key as ranking_id,
        {_sides("text", "model")},
        {other_side("gold_verdict")} as gold_verdict,
        nth_texts, vote_key, own_revision, op, annotator_id, annotator_kind,
        {other_side("verdict")} as verdict, tie_reason, preference_strength,
        {other_side("presented_first")} as presented_first, event_time, seconds_spent
    from told
)
select * exclude (vote_key, repeat),
    case
        when vote_key is not null then $source || '/' || vote_key
        when op is not null and annotator_id is not null and comparison_id is not null and event_time is not null
        then {digest("$source", "annotator_id", "comparison_id", "epoch_us(event_time)::varchar")} || if(repeat > 1, '/' || repeat, '')
    end as judgment_id
from (select *, {{repeat}} as repeat from oriented)
"""
REPEAT = f"dense_rank() over (partition by row, comparison_id, annotator_id, event_time order by place >> {PLACE_BITS})"
"""SQL: how often a row has compared the same two texts, this time included: a ranking may hold a text twice."""

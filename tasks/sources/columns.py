"""Source rows as columns: what the formats give, as an Arrow table, for everything that is done with many rows at once."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from data_contracts.errors import InputError
from data_contracts.records import MESSAGES
from tasks.sources.rows import GoodRow, Pair, Vote

PAIR_COLUMNS = ("prompt", "response_a", "response_b", "slice", "model_a", "model_b", "gold_verdict")
VOTE_COLUMNS = (
    *("op", "annotator_id", "annotator_kind", "verdict", "tie_reason", "preference_strength"),
    *("presented_first", "event_time", "seconds_spent"),
)
_TYPES: dict[str, pa.DataType] = {
    "prompt": MESSAGES,
    "preference_strength": pa.float64(),
    "event_time": pa.timestamp("us", tz="UTC"),
    "seconds_spent": pa.float64(),
}
MOST = 4096
"""Pairs of a row, and judgments of a pair, that its place has room for."""
READ = pa.schema(
    [
        pa.field("source_row", pa.int64()),
        pa.field("nth_pair", pa.int64()),
        pa.field("nth_vote", pa.int64()),
        pa.field("pair_key", pa.string()),
        pa.field("ranking_key", pa.string()),
        pa.field("vote_key", pa.string()),
        pa.field("own_revision", pa.int64()),
        *(pa.field(name, _TYPES.get(name, pa.string())) for name in (*PAIR_COLUMNS, *VOTE_COLUMNS)),
    ]
)
"""Candidates as they were read. `nth_pair` is null where a row names no pair, `op` where it holds no vote."""


def as_read(rows: Iterable[GoodRow]) -> pa.Table:
    """Rows as candidates."""
    columns: dict[str, list[Any]] = {name: [] for name in READ.names}
    for row in rows:
        for nth_pair, (pair, votes) in enumerate((one.pair, one.votes) for one in row.judged):
            if max(nth_pair, len(votes)) >= MOST:
                raise InputError(f"row {row.number} holds {MOST} judgments or more", remedy="divide it into several rows")
            for nth_vote, vote in enumerate(votes or (None,)):
                values: dict[str, Any] = {"source_row": row.number, "nth_pair": nth_pair if pair else None, "nth_vote": nth_vote}
                for name, value in (values | _of_pair(pair) | _of_vote(vote)).items():
                    columns[name].append(value)
    return pa.table(columns, schema=READ)


def _of_pair(pair: Pair | None) -> dict[str, Any]:
    if pair is None:
        return dict.fromkeys((*PAIR_COLUMNS, "pair_key", "ranking_key"))
    return {"pair_key": pair.key, "ranking_key": pair.ranking_id, **{name: getattr(pair, name) for name in PAIR_COLUMNS}}


def _of_vote(vote: Vote | None) -> dict[str, Any]:
    if vote is None:
        return dict.fromkeys((*VOTE_COLUMNS, "vote_key", "own_revision"))
    return {"vote_key": vote.key, "own_revision": vote.revision, **{name: getattr(vote, name) for name in VOTE_COLUMNS}}

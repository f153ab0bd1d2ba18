"""Source rows as columns: what the formats give, as Arrow tables, for everything that is done with many rows at once.

The texts of a pair are held once, however many of the rows share them.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import pyarrow as pa

from data_contracts.errors import InputError
from data_contracts.records import MESSAGES
from tasks.sources.rows import GoodRow, Pair, Vote

PAIR_COLUMNS = ("slice", "model_a", "model_b", "gold_verdict")
VOTE_COLUMNS = (
    *("op", "annotator_id", "annotator_kind", "verdict", "tie_reason", "preference_strength"),
    *("presented_first", "event_time", "seconds_spent"),
)
_TYPES: dict[str, pa.DataType] = {
    "preference_strength": pa.float64(),
    "event_time": pa.timestamp("us", tz="UTC"),
    "seconds_spent": pa.float64(),
}
MOST = 4096
"""Pairs of a row, and judgments of a pair, that its place has room for."""
ROWS = pa.schema(
    [
        pa.field("source_row", pa.int64()),
        pa.field("nth_pair", pa.int64()),
        pa.field("nth_vote", pa.int64()),
        pa.field("nth_texts", pa.int64()),
        pa.field("pair_key", pa.string()),
        pa.field("ranking_key", pa.string()),
        pa.field("vote_key", pa.string()),
        pa.field("own_revision", pa.int64()),
        *(pa.field(name, _TYPES.get(name, pa.string())) for name in (*PAIR_COLUMNS, *VOTE_COLUMNS)),
    ]
)
"""Votes with their pairs. `nth_pair` and `nth_texts` are null where a row names no pair, `op` where it holds no vote."""
TEXTS = pa.schema([pa.field("prompt", MESSAGES), pa.field("response_a", pa.string()), pa.field("response_b", pa.string())])
"""Distinct texts of pairs, in the source's orientation; null is what the source does not tell."""


class Read(NamedTuple):
    """Some source rows."""

    rows: pa.Table
    """In the schema `ROWS`, in the order of the rows; `nth_texts` is the number of a row of `texts`."""
    texts: pa.Table
    """In the schema `TEXTS`."""


def nothing() -> Read:
    """No rows. Arrow loads pandas for it, which takes a second, so it is not made before it is needed."""
    return Read(ROWS.empty_table(), TEXTS.empty_table())


def as_read(rows: Iterable[GoodRow]) -> Read:
    """Rows as columns."""
    columns: dict[str, list[Any]] = {name: [] for name in ROWS.names}
    texts: dict[Any, tuple[int, dict[str, Any]]] = {}
    for row in rows:
        for nth_pair, (pair, votes) in enumerate((one.pair, one.votes) for one in row.judged):
            if max(nth_pair, len(votes)) >= MOST:
                raise InputError(f"row {row.number} holds {MOST} judgments or more", remedy="divide it into several rows")
            for nth_vote, vote in enumerate(votes or (None,)):
                values: dict[str, Any] = {"source_row": row.number, "nth_pair": nth_pair if pair else None, "nth_vote": nth_vote}
                for name, value in (values | _of_pair(pair, texts) | _of_vote(vote)).items():
                    columns[name].append(value)
    return Read(pa.table(columns, schema=ROWS), pa.Table.from_pylist([told for _, told in texts.values()], schema=TEXTS))


def _of_pair(pair: Pair | None, texts: dict[Any, tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """A pair's columns; texts that were not met before are added."""
    if pair is None:
        return dict.fromkeys((*PAIR_COLUMNS, "pair_key", "ranking_key", "nth_texts"))
    told = {name: getattr(pair, name) for name in TEXTS.names}
    spoken = pair.prompt and tuple((message["role"], message["content"]) for message in pair.prompt)
    nth, _ = texts.setdefault((spoken, pair.response_a, pair.response_b), (len(texts), told))
    named = {"pair_key": pair.key, "ranking_key": pair.ranking_id, "nth_texts": nth}
    return named | {name: getattr(pair, name) for name in PAIR_COLUMNS}


def _of_vote(vote: Vote | None) -> dict[str, Any]:
    if vote is None:
        return dict.fromkeys((*VOTE_COLUMNS, "vote_key", "own_revision"))
    return {"vote_key": vote.key, "own_revision": vote.revision, **{name: getattr(vote, name) for name in VOTE_COLUMNS}}

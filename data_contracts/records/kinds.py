"""What a kind of record is: its columns, their types, and the values that may stand in them."""

from dataclasses import dataclass

import pyarrow as pa

VERDICTS = ("a", "b", "tie")
SPLITS = ("train", "validation", "test", "judge")
ANNOTATOR_KINDS = ("human", "model")
OPS = ("assert", "retract")
IDENTICAL, NEAR_IDENTICAL = "identical", "near_identical"
EXACT, NEAR = "exact", "near"
FLAG_RULES = ("unreliable", "one_verdict", "one_side", "fast")
FLAG_ACTIONS = ("report", "down_weight", "exclude")
WHY_ASKED = ("informative", "random", "gold", "repeated")
DATA_VERDICTS = ("pass", "warn", "stop", "not enough evidence", "not judged")
ALL_SLICES = "all"
"""Stands in figures for all slices together; no slice may have this name."""
MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string(), nullable=False), pa.field("content", pa.string(), nullable=False)]))
"""A prompt is a list of messages; a plain text prompt is a single message of the role `user`."""
TERMS = pa.list_(pa.struct([pa.field("term", pa.string(), nullable=False), pa.field("score", pa.float64(), nullable=False)]))
"""The parts that a score is the sum of, by the term of the reward that gives each."""


@dataclass(frozen=True)
class Column:
    """One column of a record kind."""

    name: str
    type: pa.DataType
    description: str
    nullable: bool = False
    allowed: tuple[str, ...] = ()
    """The values that may stand in the column; empty where any value of the type may."""


@dataclass(frozen=True)
class RecordKind:
    """One kind of record: what one row stands for, what identifies it, and its columns."""

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema, with each column's description as field metadata."""
        return pa.schema([pa.field(c.name, c.type, c.nullable, {"description": c.description}) for c in self.columns])

    def table(self, rows: list[dict[str, object]]) -> pa.Table:
        """The rows as an Arrow table of this kind; a key that is no column is an error, a missing nullable one is null."""
        unknown = {key for row in rows for key in row} - {column.name for column in self.columns}
        if unknown:
            raise KeyError(f"{self.name} has no column {', '.join(sorted(unknown))}")
        return pa.Table.from_pylist(rows, schema=self.schema)


TEXT, INT, FLOAT, TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", tz="UTC")

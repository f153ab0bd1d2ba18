"""The parts of the data that figures are given for."""

from dataclasses import dataclass

import duckdb

from data_contracts.records import ALL_SLICES

COLUMNS = {
    ALL_SLICES: f"'{ALL_SLICES}'",
    "source": "source::varchar",
    "domain": "domain::varchar",
    "annotator_group": "annotator_group",
    "day": "day::varchar",
    "model_pair": "models::varchar",
    "new": "if(new, 'new', null)",
    "new_source": "if(new, source::varchar, null)",
    "new_domain": "if(new, domain::varchar, null)",
}
"""The slice of a judgment, as SQL over `votes`, by kind of slice."""

OF_COMPARISONS = (ALL_SLICES, "domain", "model_pair")
"""Kinds whose slices are whole comparisons."""

RECENT, TRAILING = "recent", "trailing"


@dataclass(frozen=True)
class Slices:
    """The slices of a snapshot that get figures."""

    columns: dict[str, str]
    kept: dict[str, frozenset[str]]
    """The names, by kind."""
    left_out: int
    """How many slices have too few judgments to be among the largest of their kind."""


def find_slices(connection: duckdb.DuckDBPyConnection, *, largest: int, recent_days: int, trailing_days: int) -> Slices:
    """The slices of every kind, of each kind the largest by judgments, and the recent and trailing days of the snapshot.

    Args:
        connection: a database with the working tables.
        largest: how many slices of a kind are kept.
        recent_days: the last days, by event time, that are compared.
        trailing_days: the days before them, that they are compared with.
    """
    columns = COLUMNS | {"period": _period(recent_days, trailing_days)}
    kept, left_out = {}, 0
    for kind, column in columns.items():
        found = connection.execute(
            f"select {column} as slice from votes where slice is not null group by slice order by count(*) desc, slice"
        ).fetchall()
        kept[kind] = frozenset(name for (name,) in found[:largest])
        left_out += max(0, len(found) - largest)
    return Slices(columns, kept, left_out)


def _period(recent_days: int, trailing_days: int) -> str:
    age = "((select max(day) from votes) - day)"
    return f"case when {age} < {recent_days} then '{RECENT}' when {age} < {recent_days + trailing_days} then '{TRAILING}' end"

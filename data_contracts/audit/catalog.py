"""What an audit database holds, as its own catalogue tells it: names, grains and columns."""

from typing import NamedTuple

import duckdb

RELATIONS = """
select name, what, parameters, coalesce(comment, '') from (
    select table_name as name, 'table' as what, null::varchar[] as parameters, comment from duckdb_tables() where not internal
    union all
    select view_name, 'view', null, comment from duckdb_views() where not internal
    union all
    select function_name, 'macro', parameters, comment from duckdb_functions() where not internal and function_type = 'table_macro'
) order by name
"""


class Relation(NamedTuple):
    """A table, view or table macro."""

    name: str
    what: str
    parameters: tuple[str, ...]
    grain: str

    @property
    def call(self) -> str:
        """How it is written after `from`."""
        return f"{self.name}({', '.join(self.parameters)})" if self.parameters else self.name


def relations(connection: duckdb.DuckDBPyConnection) -> list[Relation]:
    """Everything that can be asked, by name."""
    found = connection.execute(RELATIONS).fetchall()
    return [Relation(name, what, tuple(parameters or ()), comment) for name, what, parameters, comment in found]


def columns(connection: duckdb.DuckDBPyConnection, relation: str) -> list[tuple[str, str, str]]:
    """Name, type and meaning of each column of a table or view."""
    asked = "select column_name, data_type, coalesce(comment, '') from duckdb_columns() where table_name = ? order by column_index"
    return connection.execute(asked, [relation]).fetchall()

"""Great Expectations on a DuckDB connection of ours.

Its SQL engine opens a connection for every query and closes it before the rows are fetched. duckdb-engine then has nothing to
fetch from, and every expectation fails without a word. Here one connection is kept, as the engine itself does for SQLite.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import duckdb
from duckdb_engine import ConnectionWrapper
from great_expectations.datasource.fluent import SQLDatasource
from great_expectations.execution_engine import SqlAlchemyExecutionEngine
from sqlalchemy.pool import StaticPool


class KeptConnectionEngine(SqlAlchemyExecutionEngine):  # type: ignore[misc]  # the library is not typed for us
    """The SQL engine with one connection for all of its queries."""

    _connection: Any

    @contextmanager
    def get_connection(self) -> Iterator[Any]:
        """The kept connection."""
        if not self._connection:
            self._connection = self.engine.connect()
        yield self._connection

    def close(self) -> None:
        """Let the connection go."""
        if self._connection:
            self._connection.close()
        self.engine.dispose()


Engine = type[KeptConnectionEngine]


class DuckDBDatasource(SQLDatasource):  # type: ignore[misc]
    """A data source on such an engine; Great Expectations knows it by its type from here on."""

    type: Literal["overnight_duckdb"] = "overnight_duckdb"

    @property
    def execution_engine_type(self) -> Engine:
        """What runs its queries."""
        return KeptConnectionEngine


@contextmanager
def data_source(context: Any, connection: duckdb.DuckDBPyConnection) -> Iterator[Any]:
    """A data source, in a context of Great Expectations, that sees the tables of a connection's database while the block runs."""
    source = context.data_sources.add_overnight_duckdb(
        "records",
        connection_string="duckdb:///:memory:",  # a form only: `creator` gives the connection
        create_temp_table=False,
        kwargs={"creator": lambda: ConnectionWrapper(connection.cursor()), "poolclass": StaticPool},
    )
    try:
        yield source
    finally:
        source.get_execution_engine().close()

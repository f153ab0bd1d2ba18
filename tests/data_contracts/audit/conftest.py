"""One small home and its audit database, for all tests that only read."""

from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pytest

from data_contracts.audit.build import rebuild_audit_database
from data_contracts.home import Home
from tests.data_contracts.audit.homes import small_home

Ask = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose path needs quoting, with its database."""
    folder = tmp_path_factory.mktemp("audit")
    home = Home(small_home(folder / "home").root.rename(folder / "it's=home"))
    rebuild_audit_database(home)
    return home


@pytest.fixture(scope="session")
def ask(home: Home) -> Iterator[Ask]:
    """Asks the database; gives rows."""
    with duckdb.connect(home.audit_database, read_only=True) as connection:
        yield lambda question, *values: connection.execute(question, list(values)).fetchall()

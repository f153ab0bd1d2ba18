"""Opening the audit database to read it: built anew first where it cannot say what the home holds, and errors in the user's words."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from data_contracts.audit.build import rebuild_audit_database
from data_contracts.audit.catalog import relations
from data_contracts.audit.definitions import definitions_version
from data_contracts.errors import InputError, IntegrityError
from data_contracts.home import Home


def refresh(home: Home) -> str | None:
    """Build the database anew where it has to be; gives the reason, or None where it is as it should be."""
    reason = why_outdated(home)
    if reason is not None:
        with home.at_work():  # not while something is being forgotten: what is erased just now must not come back
            rebuild_audit_database(home)
    return reason


def why_outdated(home: Home) -> str | None:
    """Why the database cannot say what the home holds, or None where it can."""
    if not home.audit_database.exists():
        return "there is none yet"
    try:
        with duckdb.connect(home.audit_database, read_only=True) as connection:
            found = connection.execute("select home, definitions, n_batches, n_nights from built").fetchall()
    except duckdb.Error:
        return "it was built by another version, or is held by a client that writes into it"
    place, definitions, n_batches, n_nights = found[0]
    if place != str(home.root):
        return f"the home was moved here from {place}, where its views look for the records"
    if definitions != definitions_version():
        return "it was built by another version"
    if n_batches != len(list(home.lake.glob("batches/*/*/manifest.json"))) or n_nights != len(list(home.nights.glob("*.json"))):
        return "something has landed since"
    return None


@contextmanager
def opened(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """The database, to be read, in UTC; what DuckDB says against a question becomes one error in the user's words."""
    with duckdb.connect(home.audit_database, read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        try:
            yield connection
        except duckdb.IOException as error:
            remedy = "remove the audit database and ask again: it is built from what is there"
            raise IntegrityError(
                f"a file that the audit database reads is gone: {_line(error)}", where=str(home.audit_database), remedy=remedy
            ) from error
        except duckdb.CatalogException as error:
            names = ", ".join(one.call for one in relations(connection.cursor()))
            raise InputError(_line(error), remedy=f"these can be asked: {names}") from error
        except duckdb.Error as error:
            raise InputError(_line(error), remedy="`overnight audit views` lists what can be asked, with its columns") from error


def ask(connection: duckdb.DuckDBPyConnection, question: str) -> duckdb.DuckDBPyConnection:
    """The rows of one question of a user.

    Raises:
        InputError: it is more than one statement, or one that would write.
    """
    statements: Sequence[duckdb.Statement] = connection.extract_statements(question)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise InputError("the audit database is read by one question at a time, and not written", remedy="ask one `select`")
    return connection.execute(statements[0])


def _line(error: duckdb.Error) -> str:
    """What DuckDB says, without its drawing of the place."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())

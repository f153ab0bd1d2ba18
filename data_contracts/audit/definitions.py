"""The views and macros of the audit database, each an SQL file that begins with its grain, its key and what its columns mean.

    -- Grain: one row per …                   one paragraph; `Key: a, b` ends it
    -- Macro: name of the parameters          for a macro
    -- Kept: …                                for a table that is computed when the database is built
    (an empty line)
    -- column: meaning                        one per column
    select …

`{current_judgments}` in one of them stands for that file of `data_contracts/sql`, and so on: one rule, one text.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import duckdb

from data_contracts.audit.tables import comment, describe
from data_contracts.lake_views import SQL
from data_contracts.manifest import content_hash
from data_contracts.records import TEXT, Column

VIEWS = Path(__file__).parent / "views"
SHARED = Path(__file__).parent / "shared"
ORDER = (
    "judgments_as_of",
    "judgments",
    "comparisons",
    "counted_judgments",
    "comparison_agreement",
    "annotator_activity",
    "annotator_quality",
    "position_bias",
    "length_bias",
    "slices_over_time",
    "gates_over_time",
    "runs",
    "quarantine",
    "quarantine_reasons",
    "duplicates",
    "model_judgments",
    "judgments_of_model",
    "made_from",
    "lineage_of",
    "used_by",
)
"""Each after what it reads."""


class Definition(NamedTuple):
    """One view, kept table or macro."""

    name: str
    grain: str
    key: tuple[str, ...]
    columns: dict[str, str]
    body: str
    parameters: str = ""
    kept: bool = False

    @property
    def what(self) -> str:
        """What it is, in the words of SQL."""
        return "macro table" if self.parameters else "table" if self.kept else "view"


@cache
def definitions() -> tuple[Definition, ...]:
    """Every definition, each after what it reads."""
    return tuple(_read(VIEWS / f"{name}.sql") for name in ORDER)


def create_definition(connection: duckdb.DuckDBPyConnection, definition: Definition) -> None:
    """Create a view, table or macro with its comments; a macro's columns have no place of their own, so its comment tells them."""
    name, body = definition.name, definition.body
    if definition.parameters:
        connection.execute(f"create macro {name}({definition.parameters}) as table {body}")
        columns = "; ".join(f"{column}: {meaning}" for column, meaning in definition.columns.items())
        comment(connection, "macro table", name, f"{definition.grain}. Columns: {columns}")
        return
    connection.execute(f"create {definition.what} {name} as {body}")
    columns_of = [Column(column, TEXT, meaning) for column, meaning in definition.columns.items()]
    describe(connection, definition.what, name, definition.grain, columns_of)


def definitions_version() -> str:
    """Hash of everything that decides what the database defines."""
    sources = [*sorted(Path(__file__).parent.glob("*.py"))]
    return content_hash([*map(list, definitions()), *(path.read_text() for path in sources)])[:16]


def _read(path: Path) -> Definition:
    head, _, rest = path.read_text().partition("\n\n")
    lines = rest.splitlines()
    described = [line for line in lines if line.startswith("-- ")]
    told = dict(re.findall(r"(Grain|Key|Macro|Kept): (.*?)(?=(?: Key: | Macro: | Kept: |$))", _prose(head)))
    columns = dict(part.split(": ", 1) for part in _entries(described))
    body = "\n".join(line for line in lines if not line.startswith("--"))
    key = tuple(name.strip(" .") for name in told["Key"].split(","))
    return Definition(path.stem, told["Grain"].strip(" ."), key, columns, _filled(body), told.get("Macro", "").strip(" ."), "Kept" in told)


def _prose(comment_lines: str) -> str:
    return " ".join(line.removeprefix("--").strip() for line in comment_lines.splitlines())


def _entries(lines: list[str]) -> list[str]:
    """The columns' entries; a line that is indented goes on with the one before."""
    found: list[str] = []
    for line in lines:
        if line.startswith("--  "):
            found[-1] += " " + line.removeprefix("--").strip()
        else:
            found.append(line.removeprefix("-- ").strip())
    return found


def _filled(body: str) -> str:
    """The body with the texts that it shares with others in the places of their names."""
    for path in [*SHARED.glob("*.sql"), *SQL.glob("*.sql")]:
        if (name := f"{{{path.stem}}}") in body:
            body = body.replace(name, "\n".join(line for line in path.read_text().splitlines() if not line.startswith("--")))
    return body

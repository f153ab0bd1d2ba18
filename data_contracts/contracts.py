"""The contracts that records must keep: every expectation, made from the record definitions.

A contract is checked on relations in DuckDB, see `data_contracts.expectations`. Texts are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from data_contracts.records import COMPARISON, FINDING, JUDGMENT, QUARANTINE, RecordKind

Severity = Literal["critical", "warning"]
TEXT_COLUMNS = frozenset({"prompt", "response_a", "response_b", "detail", "raw"})
"""Columns that no check ever sees, so that nothing of them can stand in a result."""
FACTS = {COMPARISON.name: "texts_known", JUDGMENT.name: "comparison_known"}
"""By record kind the column, true or false, that is checked besides its own ones; see `checked_rows`."""
LEAST = {"revision": 0, "source_row": 1, "preference_strength": 0, "seconds_spent": 0, "n_findings": 1}
"""Least value of the number columns."""


@dataclass(frozen=True)
class Expected:
    """One expectation: what has to hold for a column, or for several together."""

    column: str
    """The column, or the columns of a compound key joined by commas."""
    expectation: str
    """Name of the Great Expectations class."""
    arguments: Mapping[str, Any]
    severity: Severity = "critical"


BESIDES: Mapping[str, tuple[Expected, ...]] = {
    COMPARISON.name: (Expected("texts_known", "ExpectColumnValuesToBeInSet", {"value_set": [True]}, "warning"),),
    JUDGMENT.name: (
        Expected("comparison_known", "ExpectColumnValuesToBeInSet", {"value_set": [True]}),
        Expected("annotator_id", "ExpectColumnValuesToNotBeNull", {}, "warning"),
        Expected("presented_first", "ExpectColumnValuesToNotBeNull", {}, "warning"),
        Expected("seconds_spent", "ExpectColumnValuesToBeBetween", {"min_value": 1, "max_value": 3600}, "warning"),
    ),
}
"""What is expected besides the definitions."""


def contract(kind: RecordKind) -> list[Expected]:
    """Every expectation of a record kind: nulls, allowed values, ranges and the key from its definition, and what comes besides."""
    expected = []
    for column in kind.columns:
        if column.name in TEXT_COLUMNS:
            continue
        if not column.nullable:
            expected.append(Expected(column.name, "ExpectColumnValuesToNotBeNull", {}))
        if column.allowed:
            expected.append(Expected(column.name, "ExpectColumnValuesToBeInSet", {"value_set": list(column.allowed)}))
        if column.name in LEAST:
            expected.append(Expected(column.name, "ExpectColumnValuesToBeBetween", {"min_value": LEAST[column.name]}))
    if len(kind.key) == 1:
        expected.append(Expected(kind.key[0], "ExpectColumnValuesToBeUnique", {}))
    else:
        expected.append(Expected(",".join(kind.key), "ExpectCompoundColumnsToBeUnique", {"column_list": list(kind.key)}))
    return [*expected, *BESIDES.get(kind.name, ())]


def checked_rows(kind: RecordKind, rows: str, comparisons: str = "") -> str:
    """SQL for rows as their contract sees them: without their texts, and with the fact that is checked besides.

    Args:
        kind: what the rows are.
        rows: SQL for a relation of them.
        comparisons: for judgments, SQL for a relation with the ids of all comparisons that are known.
    """
    columns = ", ".join(f'"{column.name}"' for column in kind.columns if column.name not in TEXT_COLUMNS)
    if kind.name == COMPARISON.name:
        columns += ", prompt is not null and response_a is not null and response_b is not null as texts_known"
    if kind.name == JUDGMENT.name:
        columns += f", coalesce(comparison_id in (select comparison_id from {comparisons}), false) as comparison_known"
    return f"select {columns} from {rows}"


BATCH_KINDS = (COMPARISON, JUDGMENT, QUARANTINE, FINDING)
"""What is checked of each new batch."""
SNAPSHOT_KINDS = (COMPARISON, JUDGMENT)
"""What is checked of a snapshot's current records."""

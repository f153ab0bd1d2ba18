"""The contracts that records must keep, as Great Expectations suites made from the record definitions.

Texts are left out, and results hold counts and never values, so no text or id of a person can land in one. A check that crashed is
an error of the pipeline and says nothing about the data.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from data_contracts.errors import StageError
from data_contracts.records import COMPARISON, JUDGMENT, RecordKind

Severity = Literal["critical", "warning"]
TEXT_COLUMNS = frozenset({"prompt", "response_a", "response_b"})


@dataclass(frozen=True)
class Expected:
    """One expectation: what has to hold for a column, or for several together."""

    column: str
    """The column, or the columns of a compound key joined by commas."""
    expectation: str
    """Name of the Great Expectations class."""
    arguments: Mapping[str, Any]
    severity: Severity = "critical"


@dataclass(frozen=True)
class Checked:
    """One expectation as it was found."""

    records: str
    column: str
    expectation: str
    severity: Severity
    success: bool
    n_unexpected: int
    """Rows that break it."""


LEAST = {"revision": 0, "source_row": 1, "preference_strength": 0, "seconds_spent": 0}
"""Least value of the number columns."""

BESIDES: Mapping[str, tuple[Expected, ...]] = {
    COMPARISON.name: (Expected("texts_known", "ExpectColumnValuesToBeInSet", {"value_set": [True]}, "warning"),),
    JUDGMENT.name: (
        Expected("comparison_known", "ExpectColumnValuesToBeInSet", {"value_set": [True]}),
        Expected("annotator_id", "ExpectColumnValuesToNotBeNull", {}, "warning"),
        Expected("presented_first", "ExpectColumnValuesToNotBeNull", {}, "warning"),
        Expected("seconds_spent", "ExpectColumnValuesToBeBetween", {"min_value": 1, "max_value": 3600}, "warning"),
    ),
}
"""What is expected besides the definitions; `texts_known` and `comparison_known` are made by the caller, see `check`."""


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


def check(kind: RecordKind, table: pa.Table) -> list[Checked]:
    """Check a table against the contract of its record kind.

    Args:
        kind: what the rows are.
        table: the records; for comparisons with a column `texts_known`, for judgments with `comparison_known`, both true or false.

    Raises:
        StageError: an expectation crashed.
    """
    expected = contract(kind)
    found = _validate(_numpy_frame(table), expected)
    checked = []
    for one, result in zip(expected, found, strict=True):
        if (crash := _crash(result["exception_info"])) is not None:
            raise StageError(
                f"the check {one.expectation} crashed: {crash}", where=f"{kind.name}.{one.column}", remedy="please report this"
            )
        n_unexpected = int(result["result"]["unexpected_count"])
        checked.append(Checked(kind.name, one.column, one.expectation, one.severity, bool(result["success"]), n_unexpected))
    return checked


def _numpy_frame(table: pa.Table) -> Any:
    """The table as a pandas frame without its texts, backed by numpy: Great Expectations is many times slower on Arrow columns."""
    frame = table.drop_columns(sorted(TEXT_COLUMNS & set(table.column_names))).to_pandas()
    return frame.astype(dict.fromkeys(frame.select_dtypes("string").columns, object))


def _validate(frame: Any, expected: Sequence[Expected]) -> list[dict[str, Any]]:
    """The result of each expectation, in order."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when Great Expectations is imported
    import great_expectations as gx
    import great_expectations.expectations as classes
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)  # it tells of every temporary directory
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("records").add_dataframe_asset("records")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite("contract")
    for number, one in enumerate(expected):
        column = {} if "column_list" in one.arguments else {"column": one.column}
        make = getattr(classes, one.expectation)
        suite.add_expectation(make(**column, **one.arguments, severity=one.severity, meta={"number": number}))
    counts_only = {"result_format": "BASIC", "partial_unexpected_count": 0}
    results = batch.validate(suite, result_format=counts_only).results
    return [dict(result.items()) for result in sorted(results, key=lambda result: result.expectation_config.meta["number"])]


def _crash(exception_info: Mapping[str, Any]) -> str | None:
    """What went wrong inside a check; Great Expectations gives it flat, or once per metric."""
    infos = [info for info in (exception_info, *exception_info.values()) if isinstance(info, Mapping)]
    messages = [str(info.get("exception_message")) for info in infos if info.get("raised_exception")]
    return "; ".join(messages) if messages else None

"""Contracts checked by Great Expectations, on tables of a DuckDB connection.

Results hold counts and never values, so no text or id of a person can land in one. A check that crashed is an error of the pipeline
and says nothing about the data.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from data_contracts.contracts import Expected, Severity, checked_rows, contract
from data_contracts.errors import StageError, examples
from data_contracts.parquet import write_records
from data_contracts.records import COMPARISON, EXPECTATION, RecordKind

ROWS_FILE, CHECKPOINT_FILE = "expectations.parquet", "checkpoint.json"
COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 0}


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


class Checkpoint(NamedTuple):
    """What became of all expectations."""

    checked: list[Checked]
    result: str
    """Great Expectations' own result, as JSON."""

    def failed(self, severity: Severity) -> list[Checked]:
        """The broken expectations of a severity."""
        return [one for one in self.checked if not one.success and one.severity == severity]

    def write(self, directory: Path) -> None:
        """Keep the result: our rows, and Great Expectations' JSON."""
        write_records(EXPECTATION, EXPECTATION.table([asdict(one) for one in self.checked]), directory / ROWS_FILE)
        (directory / CHECKPOINT_FILE).write_text(self.result + "\n")

    def stop_if_critical(self, where: str, remedy: str) -> None:
        """Raise a `StageError` that names the broken critical expectations, if there are any."""
        if critical := self.failed("critical"):
            names = examples(f"{one.records}.{one.column} {one.expectation} ({one.n_unexpected} rows)" for one in critical)
            raise StageError(f"{len(critical)} of {len(self.checked)} contracts are broken: {names}", where=where, remedy=remedy)


def check(connection: duckdb.DuckDBPyConnection, relations: Mapping[str, str], kinds: Sequence[RecordKind], known: str = "") -> Checkpoint:
    """Check records against the contracts of their kinds.

    Args:
        connection: where the records are. What is checked is copied there, without texts, into tables that are dropped again.
        relations: by name of the record kind, SQL for a relation of its records.
        kinds: what is checked.
        known: SQL for a relation with the ids of all comparisons that judgments may name; by default the comparisons checked.

    Raises:
        StageError: an expectation crashed.
    """
    for kind in kinds:
        rows = checked_rows(kind, relations[kind.name], known or relations[COMPARISON.name])
        connection.execute(f"create table {_table(kind)} as {rows}")
    outcome = _run_checkpoint(connection, {_table(kind): contract(kind) for kind in kinds})
    checked = []
    for kind in kinds:
        for expected, result in zip(contract(kind), outcome.results[_table(kind)], strict=True):
            checked.append(_checked(kind, expected, result))
        connection.execute(f"drop table {_table(kind)}")
    return Checkpoint(checked, outcome.described)


def _table(kind: RecordKind) -> str:
    return f"checked_{kind.name}"


def _checked(kind: RecordKind, expected: Expected, result: Mapping[str, Any]) -> Checked:
    if (crash := _crash(result["exception_info"])) is not None:
        what = f"the check {expected.expectation} crashed: {crash}"
        raise StageError(what, where=f"{kind.name}.{expected.column}", remedy="please report this")
    n_unexpected = int(result["result"]["unexpected_count"] or 0)  # none where there are no rows at all
    return Checked(kind.name, expected.column, expected.expectation, expected.severity, bool(result["success"]), n_unexpected)


def _crash(exception_info: Mapping[str, Any]) -> str | None:
    """What went wrong inside a check; Great Expectations gives it flat, or once per metric."""
    infos = [info for info in (exception_info, *exception_info.values()) if isinstance(info, Mapping)]
    messages = [str(info.get("exception_message")) for info in infos if info.get("raised_exception")]
    return "; ".join(messages) if messages else None


class _Outcome(NamedTuple):
    results: dict[str, list[dict[str, Any]]]
    """By table the result of each expectation, in the contract's order."""
    described: str


def _run_checkpoint(connection: duckdb.DuckDBPyConnection, contracts: Mapping[str, Sequence[Expected]]) -> _Outcome:
    """Run one checkpoint over several tables."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when Great Expectations is imported
    import great_expectations as gx

    from data_contracts.expectations_on_duckdb import data_source

    context = _quiet_context(gx)
    with data_source(context, connection) as source:
        found = _checkpoint(gx, context, source, contracts).run()
    results = {}
    for result in found.run_results.values():
        ordered = sorted(result.results, key=lambda one: one.expectation_config.meta["number"])
        results[result.suite_name] = [dict(one.items()) for one in ordered]
    return _Outcome(results, found.describe())


def _checkpoint(gx: Any, context: Any, source: Any, contracts: Mapping[str, Sequence[Expected]]) -> Any:
    """A checkpoint with one suite for each table."""
    definitions = []
    for table, expected in contracts.items():
        suite = context.suites.add(gx.ExpectationSuite(table, expectations=[_expectation(*one) for one in enumerate(expected)]))
        rows = source.add_table_asset(table, table_name=table).add_batch_definition_whole_table("all")
        definitions.append(context.validation_definitions.add(gx.ValidationDefinition(name=table, data=rows, suite=suite)))
    return context.checkpoints.add(gx.Checkpoint(name="contracts", validation_definitions=definitions, result_format=COUNTS_ONLY))


def _expectation(number: int, one: Expected) -> Any:
    import great_expectations.expectations as classes

    column = {} if "column_list" in one.arguments else {"column": one.column}
    return getattr(classes, one.expectation)(**column, **one.arguments, severity=one.severity, meta={"number": number})


def _quiet_context(gx: Any) -> Any:
    """A context that keeps nothing, draws no bars and tells of no temporary directories."""
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context

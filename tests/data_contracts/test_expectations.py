"""Every expectation is seen to fail on a defect that is planted for it, and to pass without it."""

from typing import Any

import polars as pl
import pytest

from data_contracts import expectations
from data_contracts.errors import StageError
from data_contracts.expectations import Checked, Expected, check, contract
from data_contracts.records import COMPARISON, JUDGMENT, RecordKind

KINDS = {kind.name: kind for kind in (COMPARISON, JUDGMENT)}
SOURCE = {"source": "s", "source_file": "f", "source_row": 1}
GOOD: dict[str, list[dict[str, Any]]] = {
    "comparison": [
        SOURCE | {"comparison_id": f"c{i}", "prompt_id": "p", "slice": "s", "gold_verdict": "tie", "texts_known": True} for i in range(3)
    ],
    "judgment": [
        SOURCE
        | {"judgment_id": f"j{i}", "revision": 0, "op": "assert", "comparison_id": "c0", "annotator_id": "kim", "annotator_kind": "human"}
        | {"verdict": "a", "preference_strength": 1.0, "presented_first": "b", "seconds_spent": 9.0, "comparison_known": True}
        for i in range(3)
    ],
}
CASES = [(kind.name, expected) for kind in KINDS.values() for expected in contract(kind)]


def frame(kind: RecordKind, rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = dict(pl.DataFrame(kind.schema.empty_table()).schema)
    beside = {name: pl.Boolean() for name in rows[0] if name not in schema}
    return pl.DataFrame(rows, schema=schema | beside)


def plant(rows: list[dict[str, Any]], expected: Expected) -> list[dict[str, Any]]:
    """The rows with one defect that breaks just this expectation."""
    first, second, *rest = rows
    if expected.expectation.endswith("Null"):
        return [first | {expected.column: None}, second, *rest]
    if expected.expectation.endswith("Unique"):
        return [first, second | {name: first[name] for name in expected.column.split(",")}, *rest]
    if expected.expectation.endswith("Between"):
        return [first | {expected.column: expected.arguments["min_value"] - 0.5 if expected.column != "revision" else -1}, second, *rest]
    return [first | {expected.column: False if expected.arguments["value_set"] == [True] else "another"}, second, *rest]


@pytest.mark.parametrize("name", KINDS)
def test_good_records_keep_every_contract(name: str) -> None:
    checked = check(KINDS[name], frame(KINDS[name], GOOD[name]).to_arrow())
    assert all(one.success and one.n_unexpected == 0 for one in checked)
    assert len(checked) == len(contract(KINDS[name]))


@pytest.mark.parametrize(("name", "expected"), CASES, ids=[f"{name}.{e.column}-{e.expectation}-{e.severity}" for name, e in CASES])
def test_every_expectation_fails_on_its_defect(name: str, expected: Expected) -> None:
    rows = plant(GOOD[name], expected)
    if expected.column == "source_row":
        rows[0]["source_row"] = 0 if expected.expectation.endswith("Between") else rows[0]["source_row"]
    found = [one for one in check(KINDS[name], frame(KINDS[name], rows).to_arrow()) if not one.success]
    broken = [(one.column, one.expectation, one.severity) for one in found]
    assert (expected.column, expected.expectation, expected.severity) in broken
    assert all(one.column == expected.column for one in found)
    assert all(one.n_unexpected >= 1 for one in found)


def test_a_check_that_crashes_is_an_error_and_not_bad_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expectations, "BESIDES", {"comparison": (Expected("no_such_column", "ExpectColumnValuesToNotBeNull", {}),)})
    with pytest.raises(StageError, match="crashed"):
        check(COMPARISON, frame(COMPARISON, GOOD["comparison"]).to_arrow())


def test_results_are_plain_rows() -> None:
    (first, *_) = check(COMPARISON, frame(COMPARISON, GOOD["comparison"]).to_arrow())
    assert first == Checked("comparison", "comparison_id", "ExpectColumnValuesToNotBeNull", "critical", success=True, n_unexpected=0)

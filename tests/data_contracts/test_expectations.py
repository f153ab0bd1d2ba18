"""Every expectation is seen to fail on a defect that is planted for it, on as many rows as plain Python counts, and to hold without it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts import contracts
from data_contracts.contracts import BATCH_KINDS, FACTS, Expected, contract
from data_contracts.errors import StageError
from data_contracts.expectations import Checked, Checkpoint, check
from data_contracts.records import COMPARISON, EXPECTATION, JUDGMENT, RecordKind

PRIVATE = "nobody should read this"
KINDS = {kind.name: kind for kind in BATCH_KINDS}
Rows = list[dict[str, Any]]


def good(kind: str, number: int) -> dict[str, Any]:
    """A record that keeps its contract."""
    source = {"source": "s", "source_file": "f", "source_row": number + 1}
    prompt = [{"role": "user", "content": PRIVATE}]
    return {
        "comparison": source
        | {"comparison_id": f"c{number}", "prompt_id": "p", "slice": "s", "gold_verdict": "tie"}
        | {"prompt": prompt, "response_a": PRIVATE, "response_b": PRIVATE},
        "judgment": source
        | {"judgment_id": f"j{number}", "revision": 0, "op": "assert", "comparison_id": "c0", "annotator_id": "kim"}
        | {"annotator_kind": "human", "verdict": "a", "preference_strength": 1.0, "presented_first": "b", "seconds_spent": 9.0},
        "quarantine": source | {"reason": "missing_verdict", "detail": PRIVATE, "raw": PRIVATE},
        "finding": {"source": f"s{number}", "slice": "s", "column": "prompt", "kind": "email", "action": "report", "n_findings": 1},
    }[kind]


def defect(expected: Expected, row: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The record with one defect, which breaks this expectation."""
    if expected.column in FACTS.values():
        return row | ({"response_a": None} if expected.column == "texts_known" else {"comparison_id": "nowhere"})
    if expected.expectation.endswith("Null"):
        return row | {expected.column: None}
    if expected.expectation.endswith("Unique"):
        return row | {name: before[name] for name in expected.column.split(",")}
    if expected.expectation.endswith("Between"):
        return row | {expected.column: expected.arguments["min_value"] - 1}
    return row | {expected.column: "another"}


def counted(expected: Expected, rows: Rows) -> int:
    """How many rows break an expectation, in plain Python; nulls break nothing but the rule against them."""
    if expected.expectation.endswith("Unique"):
        keys = Counter(tuple(row.get(name) for name in expected.column.split(",")) for row in rows)
        return sum(count for count in keys.values() if count > 1)
    values = [row.get(expected.column) for row in rows]
    if expected.expectation.endswith("Null"):
        return values.count(None)
    if expected.expectation.endswith("Between"):
        least, most = expected.arguments["min_value"], expected.arguments.get("max_value", float("inf"))
        return sum(value is not None and not least <= value <= most for value in values)
    return sum(value is not None and value not in expected.arguments["value_set"] for value in values)


def with_facts(kind: str, rows: Rows) -> Rows:
    if kind == "comparison":
        return [row | {"texts_known": None not in (row["prompt"], row["response_a"], row["response_b"])} for row in rows]
    return [row | {"comparison_known": row["comparison_id"] == "c0"} for row in rows] if kind == "judgment" else rows


def table(kind: RecordKind, rows: Rows) -> pa.Table:
    """Without the schema's own rules, so that every defect can be planted."""
    return pa.Table.from_pylist(rows, schema=pa.schema([pa.field(field.name, field.type) for field in kind.schema]))


def checked(rows: dict[str, Rows]) -> Checkpoint:
    with duckdb.connect() as connection:
        for name, some in rows.items():
            connection.register(f"given_{name}", table(KINDS[name], some))
        relations = {name: f"given_{name}" for name in rows} | {"comparison": "given_comparison"}
        return check(connection, relations, [KINDS[name] for name in rows], "(select 'c0' as comparison_id)")


@pytest.fixture(scope="module")
def kept() -> Checkpoint:
    return checked({name: [good(name, number) for number in range(3)] for name in KINDS})


@pytest.fixture(scope="module")
def planted() -> dict[str, Rows]:
    """For each kind one record per expectation, with its defect."""
    rows = {}
    for name, kind in KINDS.items():
        fine = [good(name, number) for number in range(len(contract(kind)) + 1)]
        rows[name] = [fine[0], *(defect(one, fine[n], fine[n - 1]) for n, one in enumerate(contract(kind), 1))]
    return rows


@pytest.fixture(scope="module")
def broken(planted: dict[str, Rows]) -> Checkpoint:
    return checked(planted)


def test_good_records_keep_every_contract(kept: Checkpoint) -> None:
    assert [one for one in kept.checked if not one.success or one.n_unexpected] == []
    assert len(kept.checked) == sum(len(contract(kind)) for kind in BATCH_KINDS)
    kept.stop_if_critical("here", remedy="none")


def test_every_expectation_fails_on_its_defect(planted: dict[str, Rows], broken: Checkpoint) -> None:
    expected = [(name, one) for name, kind in KINDS.items() for one in contract(kind)]
    told = [Checked(name, e.column, e.expectation, e.severity, False, counted(e, with_facts(name, planted[name]))) for name, e in expected]
    assert broken.checked == told
    assert all(one.n_unexpected >= 1 for one in told)


def test_a_broken_critical_contract_stops_and_says_how_often(broken: Checkpoint) -> None:
    with pytest.raises(StageError, match=r"contracts are broken: comparison\.comparison_id ExpectColumnValuesToNotBeNull \(1 rows\)"):
        broken.stop_if_critical("here", remedy="none")


def test_no_text_and_no_value_lands_in_a_result(broken: Checkpoint, tmp_path: Path) -> None:
    broken.write(tmp_path)
    told = (tmp_path / "checkpoint.json").read_text()
    assert json.loads(told)["statistics"]["unsuccessful_validations"] == len(KINDS)
    assert not any(word in told for word in (PRIVATE, "another", "kim", "nowhere"))
    assert pq.read_table(tmp_path / "expectations.parquet").schema.names == EXPECTATION.schema.names


def test_records_that_are_not_there_keep_their_contracts() -> None:
    assert all(one.success for one in checked({name: [] for name in KINDS}).checked)


def test_a_check_that_crashes_is_an_error_and_not_bad_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contracts, "BESIDES", {"comparison": (Expected("no_such_column", "ExpectColumnValuesToNotBeNull", {}),)})
    with pytest.raises(StageError, match=r"crashed.*comparison\.no_such_column"):
        checked({COMPARISON.name: [good("comparison", 0)]})


def test_a_result_has_the_same_bytes_every_time(broken: Checkpoint, planted: dict[str, Rows]) -> None:
    assert checked(planted).result == broken.result


def test_judgments_are_checked_against_the_comparisons_at_hand() -> None:
    with duckdb.connect() as connection:
        connection.register("given", table(COMPARISON, [good("comparison", 0)]))
        connection.register("said", table(JUDGMENT, [good("judgment", 0), good("judgment", 1) | {"comparison_id": "c9"}]))
        found = check(connection, {"comparison": "given", "judgment": "said"}, (COMPARISON, JUDGMENT))
    assert [(one.column, one.n_unexpected) for one in found.failed("critical")] == [("comparison_known", 1)]

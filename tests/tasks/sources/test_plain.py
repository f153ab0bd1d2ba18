"""Native JSON lines at full speed: whatever it takes for plain, `native` reads to the same row. The oracle is `native`."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks.sources import plain
from tasks.sources.columns import Read, as_read
from tasks.sources.files import json_line
from tasks.sources.formats import native
from tasks.sources.rows import BadRow, GoodRow
from tests.tasks.deliveries import row


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        yield connection


def with_texts(read: Read) -> pa.Table:
    """Rows with their texts beside them."""
    table = read.rows.drop_columns("nth_texts")
    for name, column in zip(read.texts.column_names, read.texts.take(read.rows["nth_texts"]).columns, strict=True):
        table = table.append_column(name, column)
    return table


def both(data: bytes, connection: duckdb.DuckDBPyConnection, default_slice: str | None = None) -> tuple[pa.Table, set[int]]:
    """The rows that were taken for plain, after they were compared with how `native` reads them; and the numbers of the others."""
    found = [plain.sort_out(lines, connection, default_slice) for lines in plain.lines_of(io.BytesIO(data))]
    table = pa.concat_tables([with_texts(as_read([])), *(with_texts(block.plain) for block in found)])
    others = {number for block in found for number, _ in block.others}
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    full = {number: line.strip() for number, line in enumerate(lines, 1) if line.strip()}
    taken = table["source_row"].to_pylist()
    assert set(taken) | others == set(full), "every line that is not empty is met"
    assert not set(taken) & others, "and once"
    expected = [native.judged(json_line(number, full[number]), default_slice) for number in taken]
    assert not [bad for bad in expected if isinstance(bad, BadRow)]
    assert table.to_pylist() == with_texts(as_read(good for good in expected if isinstance(good, GoodRow))).to_pylist()
    return table, others


EVERYTHING = row(
    "tie",
    prompt=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Ünïcode \u0000 and \n"}],
    response_b="",
    annotator_id=7,
    annotator_kind="model",
    comparison_id="c 1",
    judgment_id="j",
    revision=3,
    slice="some slice",
    model_a="one",
    model_b="two",
    preference_strength=1.5,
    presented_first="b",
    event_time="2026-11-02T09:30:00.25+05:30",
    seconds_spent=0,
    gold_verdict="a",
    ranking_id="r",
    tie_reason="both_bad",
)


def test_a_row_with_everything_is_plain(connection: duckdb.DuckDBPyConnection) -> None:
    table, others = both(json.dumps(EVERYTHING).encode() + b"\r\n\n" + json.dumps(row(), ensure_ascii=False).encode(), connection, "home")
    assert (table["source_row"].to_pylist(), others) == ([1, 3], set())
    assert table["slice"].to_pylist() == ["some slice", "home"]


@pytest.mark.parametrize(
    "line",
    [
        '{"prompt": "p", "response_a": "a", "response_b": "b", "verdict": "a", "verdict": "b"}',
        '{"prompt": "p", "response_a": "a", "response_b": "b", "verdict": "a", "op": "assert", "nothing": 1}',
        json.dumps(row(slice="all")),
        json.dumps(row(annotator_id=" kim ")),
        json.dumps(row(annotator_id="")),
        json.dumps(row(annotator_id=-3)),
        json.dumps(row(annotator_id=2**64)),
        json.dumps(row(annotator_id=True)),
        json.dumps(row(event_time="2026-02-30T00:00:00Z")),
        json.dumps(row(event_time="2026-W05-1")),
        json.dumps(row(event_time="2026-02-03T24:00:00Z")),
        json.dumps(row(seconds_spent=-1)),
        json.dumps(row(seconds_spent="12")),
        json.dumps(row(seconds_spent=float("nan"))),
        json.dumps(row(seconds_spent=float("inf"))),
        json.dumps(row(revision=1.5)),
        json.dumps(row(prompt=" \u2003\n")),
        json.dumps(row(prompt="\ud800")),
        json.dumps(row(prompt=[])),
        json.dumps(row(prompt=[{"role": "user", "content": None}])),
        json.dumps(row(prompt=[{"role": "user", "content": "x"}, {"role": None, "content": "x"}])),
        json.dumps(row(prompt=[{"role": "user", "content": "x", "name": "n"}])),
        '{"prompt": [{"role": "user", "role": "user", "content": "x"}], "response_a": "a", "response_b": "b", "verdict": "a"}',
        json.dumps(row(response_a=None, comparison_id="c")),
        json.dumps({"op": "retract", "judgment_id": "j"}),
        json.dumps(row("left")),
        "[1]",
        "null",
        "{broken",
        '{"prompt": "p"} x',
    ],
)
def test_what_needs_mending_or_judging_is_left_to_native(line: str, connection: duckdb.DuckDBPyConnection) -> None:
    table, others = both(line.encode() + b"\n" + json.dumps(row()).encode(), connection)
    assert (table["source_row"].to_pylist(), others) == ([2], {1})


def test_a_row_of_ids_alone_is_plain(connection: duckdb.DuckDBPyConnection) -> None:
    table, others = both(b'{"comparison_id": 5, "verdict": "a", "annotator_id": "kim"}', connection)
    assert (table["pair_key"].to_pylist(), table["prompt"].to_pylist(), others) == (["5"], [None], set())


def test_bytes_that_are_not_utf8_leave_their_block_to_native(connection: duckdb.DuckDBPyConnection) -> None:
    table, others = both(b"\xef\xbb\xbf" + json.dumps(row()).encode() + b'\n{"prompt": "\xff"}\n', connection)
    assert (table.num_rows, others) == (0, {1, 2})


def test_a_file_of_many_blocks_is_read_line_by_line(connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "BLOCK", 100)
    lines = [json.dumps(row(annotator_id=i, response_a="x" * (i * 37 % 300))) for i in range(50)]
    table, _ = both("\n".join(lines).encode(), connection)
    assert table["annotator_id"].to_pylist() == [str(i) for i in range(50)]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 2**66),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["a", "b", "tie", "human", "model", "assert", "retract", "all", "2026-11-02T09:30:00Z", "2026-11-02 09:30", " x "]),
    st.lists(st.dictionaries(st.sampled_from(["role", "content", "name"]), st.sampled_from(["user", "x", "", None, 1])), max_size=2),
)


@given(lines=st.lists(st.tuples(st.dictionaries(st.sampled_from(sorted(native.COLUMNS)), VALUES), st.booleans()), min_size=1, max_size=30))
@example(lines=[({"prompt": "\x1f"}, True)])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_plain_reads_as_native_does(lines: list[tuple[dict[str, Any], bool]], connection: duckdb.DuckDBPyConnection) -> None:
    rows = [(row("a") | values) if whole else values for values, whole in lines]
    both("\n".join(json.dumps(values) for values in rows).encode(), connection)


def test_the_columns_are_those_of_native() -> None:
    assert set(plain.COLUMNS) == native.COLUMNS


def test_a_misspelt_column_of_the_whole_file_is_refused(tmp_path: Path) -> None:
    columns = native.Columns(tmp_path / "rows.jsonl")
    columns.see((1, "", {"prompt": "p", "response_a": "a", "response_b": "b", "verdict": "a", "anotator_id": "kim"}))
    with pytest.raises(native.InputError, match="anotator_id"):
        columns.check()

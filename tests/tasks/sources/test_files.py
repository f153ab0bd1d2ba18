"""Files of every kind and in every bad shape: a row that cannot be used is a bad row, a file that cannot is one error.

Expected values are by hand; the compressed files are made by other libraries than those that read them, where there is one.
"""

import bz2
import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import InputError
from tasks.sources import FORMATS, files
from tasks.sources.rows import BadRow, GoodRow
from tests.tasks.sources.reading import judged, only, parse, reason, said

ROW = {"prompt": "p", "chosen": "x", "rejected": "y"}
LINE = json.dumps(ROW).encode()
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}


def write_csv(path: Path, delimiter: str) -> bytes:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ROW, delimiter=delimiter)
        writer.writeheader()
        writer.writerow(ROW)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", ENCODERS)
@pytest.mark.parametrize("kind", [".jsonl", ".ndjson", ".json", ".csv", ".tsv", "array"])
def test_every_kind_and_compression_gives_the_same_row(kind: str, suffix: str, tmp_path: Path) -> None:
    contents = {".csv": write_csv(tmp_path / "a", ","), ".tsv": write_csv(tmp_path / "b", "\t"), "array": b"[" + LINE + b"]"}
    path = tmp_path / f"rows{'.json' if kind == 'array' else kind}{suffix}"
    path.write_bytes(ENCODERS[suffix](contents.get(kind, LINE)))
    (row,) = parse("chosen_rejected", path)
    assert (row.number, said(row)) == (1, [("x", "y", "a", None)])


def test_parquet_keeps_lists_of_messages(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "x"}]
    pq.write_table(
        pa.Table.from_pylist([{"chosen": chat, "rejected": [chat[0], chat[1] | {"content": "y"}]}] * 3000), tmp_path / "rows.parquet"
    )
    rows = parse("chosen_rejected", tmp_path / "rows.parquet")
    assert [row.number for row in rows] == list(range(1, 3001))
    assert said(rows[-1]) == [("x", "y", "a", None)]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("cut", ["half", "garbage"])
def test_a_cut_off_or_false_compressed_file_is_refused(suffix: str, cut: str, tmp_path: Path) -> None:
    whole = ENCODERS[suffix](b"\n".join(json.dumps(ROW | {"annotator_id": str(n)}).encode() for n in range(20_000)))
    path = tmp_path / f"rows.jsonl{suffix}"
    path.write_bytes(whole[: len(whole) // 2] if cut == "half" else b"hello world")
    with pytest.raises(InputError, match="cannot be read") as error:
        parse("chosen_rejected", path)
    assert path.name in error.value.where
    assert error.value.remedy


def test_byte_order_marks_and_line_ends_are_no_part_of_the_values(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b'\xef\xbb\xbfprompt,chosen,rejected\r\np,"x\r\nx",y\r\np,x,y\r\n')
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + LINE + b"\r\n" + LINE + b"\r\n\r\n")
    (tmp_path / "rows.json").write_bytes(b"\xef\xbb\xbf [" + LINE + b"]")
    assert [said(row)[0][0] for row in parse("chosen_rejected", tmp_path / "rows.csv")] == ["x\r\nx", "x"]
    assert len(parse("chosen_rejected", tmp_path / "rows.jsonl")) == 2
    assert len(parse("chosen_rejected", tmp_path / "rows.json")) == 1


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be-sig"])
def test_another_encoding_of_the_whole_file_is_named(name: str, encoding: str, tmp_path: Path) -> None:
    text = "prompt,chosen,rejected\np,x,y\n"
    (tmp_path / name).write_bytes(text.encode("utf-16") if encoding == "utf-16" else b"\xfe\xff" + text.encode("utf-16-be"))
    with pytest.raises(InputError, match="UTF-16") as error:
        parse("chosen_rejected", tmp_path / name)
    assert "UTF-8" in error.value.remedy


def test_a_row_with_latin_1_text_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes("prompt,chosen,rejected\np,schön,y\n".encode("latin-1") + "p,schön,y\n".encode())
    (tmp_path / "rows.jsonl").write_bytes(LINE.replace(b"x", b"\xe9") + b"\n" + LINE)
    for name, expected in (("rows.csv", "invalid_chosen"), ("rows.jsonl", "not_utf8")):
        bad, good = parse("chosen_rejected", tmp_path / name)
        assert reason(bad) == expected
        assert judged(good)


def test_nul_bytes_are_text_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"prompt,chosen,rejected\np,x\0,y\n")
    (tmp_path / "rows.jsonl").write_bytes(LINE.replace(b"x", b"\0") + b"\n" + LINE.replace(b'"x"', b'"x\\u0000"'))
    assert said(parse("chosen_rejected", tmp_path / "rows.csv")[0])[0][0] == "x\0"
    raw, escaped = parse("chosen_rejected", tmp_path / "rows.jsonl")
    assert (reason(raw), said(escaped)[0][0]) == ("invalid_json", "x\0")


def test_a_cell_of_10_mb_is_read(tmp_path: Path) -> None:
    long = "x" * 10_000_000
    (tmp_path / "rows.csv").write_text(f"prompt,chosen,rejected\np,{long},y\n")
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW | {"chosen": long}))
    for name in ("rows.csv", "rows.jsonl"):
        (row,) = parse("chosen_rejected", tmp_path / name)
        assert len(only(row)[0].response_a or "") == 10_000_000


def test_a_line_that_would_fill_the_memory_is_a_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_ROW", 1000)
    (tmp_path / "rows.jsonl").write_bytes(LINE + b"\n" + b'{"prompt": "' + b"x" * 10_000 + b'"}\n' + LINE)
    rows = parse("chosen_rejected", tmp_path / "rows.jsonl")
    assert [row.number for row in rows] == [1, 2, 3]
    assert reason(rows[1]) == "row_too_long"
    assert len(rows[1].raw) == 1000


def test_a_quote_that_never_ends_is_an_error_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_ROW", 1000)
    (tmp_path / "rows.csv").write_text('prompt,chosen,rejected\np,"x,y\n' + "p,x,y\n" * 1000)
    with pytest.raises(InputError, match="field larger than field limit"):
        parse("chosen_rejected", tmp_path / "rows.csv")


def test_deeply_nested_json_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(LINE + b"\n" + b'{"prompt":' * 50_000 + b"\n" + LINE.replace(b'"x"', b"[" * 500 + b"]" * 500))
    _, broken, nested = parse("chosen_rejected", tmp_path / "rows.jsonl")
    assert (reason(broken), reason(nested)) == ("invalid_json", "invalid_chosen")


def test_a_broken_json_array_is_an_error_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(b"[" + LINE)
    with pytest.raises(InputError, match="not valid JSON"):
        parse("chosen_rejected", path)
    path.write_bytes(b"[" * 100_000)
    with pytest.raises(InputError, match="not valid JSON"):
        parse("chosen_rejected", path)
    monkeypatch.setattr(files, "LARGEST_ARRAY", 10)
    with pytest.raises(InputError, match="larger than") as error:
        parse("chosen_rejected", path)
    assert "JSON lines" in error.value.remedy


def test_ragged_records_are_bad_rows(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt,chosen,rejected\np,x\np,x,y,z\n\np,x,y\n")
    short, long, good = parse("chosen_rejected", tmp_path / "rows.csv")
    assert [reason(short), reason(long), good.number] == ["wrong_number_of_fields", "wrong_number_of_fields", 3]


def test_a_column_that_is_named_twice_is_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt,chosen,rejected,chosen\np,x,y,z\n")
    with pytest.raises(InputError, match="names chosen twice"):
        parse("chosen_rejected", tmp_path / "rows.csv")


def test_values_of_other_types_are_bad_rows_and_numbers_may_be_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    values: list[object] = ["1.5", 1, True, "one", None, [], {}, float("nan")]
    path.write_text("\n".join(json.dumps({"prompt": "p", "responses": ["x", "y"], "ratings": [0, value]}) for value in values))
    found = [said(row)[0][3] if isinstance(row, GoodRow) else row.reason for row in parse("ratings", path)]
    assert found == [
        1.5,
        1.0,
        "invalid_ratings",
        "invalid_ratings",
        "missing_ratings",
        "invalid_ratings",
        "invalid_ratings",
        "invalid_ratings",
    ]


def test_times_without_offset_are_utc_and_impossible_ones_are_bad(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    times = [
        "2026-03-01T10:00:00",
        "2026-03-01T10:00:00+02:00",
        "2026-02-30T10:00:00",
        "9999-12-31T23:59:59-10:00",
        17,
        "2026-03-01T10:00:60",
    ]
    path.write_text("\n".join(json.dumps(ROW | {"event_time": time}) for time in times))
    naive, offset, *bad = parse("chosen_rejected", path)
    assert [str(only(row)[1].event_time) for row in (naive, offset)] == ["2026-03-01 10:00:00+00:00", "2026-03-01 08:00:00+00:00"]
    assert {reason(row) for row in bad} == {"invalid_event_time"}


@pytest.mark.parametrize("form", [name for name in FORMATS if name not in ("llmfao", "pandalm", "native")])
def test_an_empty_file_has_no_rows_and_rows_of_another_kind_are_refused(form: str, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    assert parse(form, tmp_path / "empty.jsonl") == []
    (tmp_path / "other.jsonl").write_text('{"colour": "blue"}\n')
    with pytest.raises(InputError, match="its columns are colour") as error:
        parse(form, tmp_path / "other.jsonl")
    assert "other.jsonl" in error.value.where


def test_a_file_of_nothing_but_broken_lines_goes_to_quarantine(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{\n[1]\n7\nnull\n")
    found = [row.reason for row in parse("arena", tmp_path / "rows.jsonl") if isinstance(row, BadRow)]
    assert found == ["invalid_json", "not_a_row", "not_a_row", "not_a_row"]

"""Source formats: what each row gives, which rows are bad and why, and which files are refused. Expected values are by hand."""

import csv
import gzip
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import InputError
from tasks.sources import FORMATS
from tasks.sources.rows import BadRow, GoodRow, Judged, Pair, Row, Vote
from tests.tasks.deliveries import SHARED, needs_llmfao, needs_pandalm, row, write_rows


def only(parsed: Row) -> Judged:
    """What a row says that holds one judged pair."""
    assert isinstance(parsed, GoodRow)
    (judged,) = parsed.judged
    return judged


def pairs_of(path: Path, form: str) -> list[Pair]:
    """The pairs of the rows that could be read."""
    judged = [only(one) for one in parse(path, form) if isinstance(one, GoodRow)]
    return [one.pair for one in judged if one.pair]


def parse(path: Path, form: str = "native", default_slice: str | None = None) -> list[Row]:
    return [parsed for _, parsed in FORMATS[form].parse(path, default_slice)]


FULL = row("b", annotator_id="kim", comparison_id=7, slice="colours", model_a="m", presented_first="b", preference_strength=2) | {
    "event_time": "2026-11-02T10:30:00+01:00",
    "seconds_spent": 4.5,
    "gold_verdict": "a",
}
FULL_PAIR = Pair([{"role": "user", "content": "Name a colour."}], "Blue.", "Seven.", "colours", "7", "m", None, "a")
FULL_VOTE = Vote(
    "b", "kim", preference_strength=2.0, presented_first="b", event_time=datetime(2026, 11, 2, 9, 30, tzinfo=UTC), seconds_spent=4.5
)


def write_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FULL)
        writer.writeheader()
        writer.writerow(FULL)


WRITERS = {
    "rows.jsonl": lambda path: write_rows(path, [FULL]),
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(FULL).encode())),
    "rows.csv": write_csv,
    "rows.parquet": lambda path: pq.write_table(pa.Table.from_pylist([FULL]), path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_native_file_kind_gives_the_same_row(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    (parsed,) = parse(tmp_path / name)
    assert (parsed.number, only(parsed)) == (1, Judged(FULL_PAIR, (FULL_VOTE,)))


def test_messages_are_kept_and_a_folder_is_read_by_name(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    write_rows(tmp_path / "b.jsonl", [row(prompt=messages)])
    write_rows(tmp_path / "deep/a.jsonl", [row()])
    write_rows(tmp_path / ".hidden.jsonl", [row()])
    parsed = list(FORMATS["native"].parse(tmp_path, "fallback"))
    assert [name for name, _ in parsed] == ["b.jsonl", "deep/a.jsonl"]
    pair = only(parsed[0][1]).pair
    assert pair is not None
    assert (pair.prompt, pair.slice) == (messages, "fallback")


BAD_ROWS: dict[str, tuple[Any, str]] = {
    "no verdict": ({k: v for k, v in row().items() if k != "verdict"}, "missing_verdict"),
    "a null verdict": (row() | {"verdict": None}, "missing_verdict"),
    "another verdict": (row("left"), "invalid_verdict"),
    "a number as response": (row(response_a=3), "invalid_response_a"),
    "a truth value as response": (row(response_b=True), "invalid_response_b"),
    "no response": (row(response_a=None), "missing_response_a"),
    "an empty prompt": (row(prompt=" "), "missing_prompt"),
    "no messages": (row(prompt=[]), "missing_prompt"),
    "a message without role": (row(prompt=[{"content": "x"}]), "invalid_prompt"),
    "half a surrogate pair": (row(response_a="\ud800"), "invalid_response_a"),
    "negative strength": (row(preference_strength=-1), "invalid_preference_strength"),
    "endless strength": (row(preference_strength=float("inf")), "invalid_preference_strength"),
    "a truth value as seconds": (row(seconds_spent=True), "invalid_seconds_spent"),
    "half a revision": (row(revision=0.5), "invalid_revision"),
    "no time": (row(event_time="yesterday"), "invalid_event_time"),
    "a time before time": (row(event_time="0001-01-01T00:00:00+10:00"), "invalid_event_time"),
    "another side": (row(presented_first="tie"), "invalid_presented_first"),
    "another op": (row(op="delete"), "invalid_op"),
    "the name of all slices": (row(slice="all"), "invalid_slice"),
    "a retraction of nothing": ({"op": "retract"}, "missing_judgment_id"),
    "a misspelt column": (row(annotater_id="kim"), "unknown_column"),
    "a list": ([1], "not_a_row"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_kept_with_its_reason_and_costs_no_other(case: str, tmp_path: Path) -> None:
    content, reason = BAD_ROWS[case]
    (tmp_path / "rows.jsonl").write_text(json.dumps(row()) + "\n" + json.dumps(content) + "\n" + json.dumps(row("b")) + "\n")
    first, bad, last = parse(tmp_path / "rows.jsonl")
    assert isinstance(first, GoodRow)
    assert isinstance(last, GoodRow)
    assert isinstance(bad, BadRow)
    assert (bad.number, bad.reason, bad.raw) == (2, reason, json.dumps(content))
    assert bad.detail


def test_broken_lines_are_kept_as_they_are_under_their_line_numbers(tmp_path: Path) -> None:
    good = json.dumps(row()).encode()
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + good + b"\n\n{broken\n\xff\n" + b"[" * 100_000 + b"\n" + good)
    parsed = parse(tmp_path / "rows.jsonl")
    bad = [one for one in parsed if isinstance(one, BadRow)]
    assert [one.number for one in parsed] == [1, 3, 4, 5, 6]
    assert [(one.number, one.reason) for one in bad] == [(3, "invalid_json"), (4, "not_utf8"), (5, "invalid_json")]
    assert [one.raw for one in bad[:2]] == ["{broken", "\\xff"]


def test_a_csv_record_with_other_fields_or_bytes_is_bad(tmp_path: Path) -> None:
    header = b"prompt,response_a,response_b,verdict,annotator_id\n"
    (tmp_path / "rows.csv").write_bytes(header + b'p,x,"y\nz",a,\n\np,x,y\np,\xff,y,a,kim\n' + b"p,x," + b"y" * 200_000 + b",a,kim\n")
    good, short, bytes_, long = parse(tmp_path / "rows.csv")
    assert only(good).votes == (Vote("a"),)
    assert isinstance(short, BadRow)
    assert isinstance(bytes_, BadRow)
    assert (short.reason, short.number, bytes_.reason) == ("wrong_number_of_fields", 2, "invalid_response_a")
    assert isinstance(long, GoodRow)


REFUSED = {
    "a missing file": ("rows.jsonl", None, "no file"),
    "a missing column": ("rows.jsonl", json.dumps({"prompt": "p", "response_a": "", "verdict": "a"}), "no column response_b"),
    "an unknown column in every row": ("rows.jsonl", json.dumps(row(rater="kim")), "no column rater"),
    "a CSV file without header": ("rows.csv", "", "no header"),
    "a CSV file with another column": ("rows.csv", "prompt,response_a,response_b,verdict,rater\np,x,y,a,kim\n", "no column rater"),
    "no Parquet": ("rows.parquet", "hello", "cannot be read"),
    "no gzip": ("rows.jsonl.gz", "hello", "cannot be read"),
    "another kind of file": ("rows.txt", "hello", "no file ending in"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_cannot_be_used_is_one_error_with_file_and_remedy(case: str, tmp_path: Path) -> None:
    name, content, message = REFUSED[case]
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as error:
        parse(tmp_path / name)
    assert name in error.value.where
    assert error.value.remedy


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"\n".join(json.dumps(row(annotator_id=str(i))).encode() for i in range(1000)))
    (tmp_path / "rows.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read"):
        parse(tmp_path / "rows.jsonl.gz")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        FORMATS["native"].files(tmp_path)


def write_llmfao(folder: Path, judgments: str) -> Path:
    folder.mkdir()
    header = "id,prompt,model_x,model_y,worker,winner,left,right\n"
    (folder / "crowd-comparisons.csv.gz").write_bytes(gzip.compress((header + judgments).encode()))
    write_rows(folder / "prompts.jsonl", [{"id": 8, "text": "Say hi.", "type": "talk"}])
    write_rows(folder / "models.jsonl", [{"id": 1, "name": "One"}, {"id": 2, "name": "Two"}, {"id": 3, "name": "Three"}])
    results = [{"prompt": 8, "model": 1, "result": "Hi!"}, {"prompt": 8, "model": 2, "result": ""}]
    (folder / "results.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, results)).encode() + b"\n{broken"))
    return folder


def test_llmfao_keeps_ids_and_sides_and_says_what_it_lacks(tmp_path: Path) -> None:
    lines = [
        "0,8,1,2,58,right,Two,One",
        "1,9,1,2,58,tie,One,Two",
        "2,8,1,3,58,tie,One,Three",
        "3,8,1,2,58,tie,One,Six",
        "4,8,1,2,58,,One,Two",
    ]
    good, *bad = parse(write_llmfao(tmp_path / "llmfao", "\n".join(lines)), "llmfao")
    assert only(good).pair == Pair([{"role": "user", "content": "Say hi."}], "", "Hi!", "talk", "0", "Two", "One")
    assert only(good).votes == (Vote("b", "58", presented_first="a"),)
    assert [one.reason for one in bad if isinstance(one, BadRow)] == [
        "unknown_prompt",
        "unknown_response",
        "unknown_model",
        "missing_winner",
    ]


def test_llmfao_reads_what_models_judged_where_it_is_there(tmp_path: Path) -> None:
    folder = write_llmfao(tmp_path / "llmfao", "0,8,1,2,58,right,Two,One")
    header = "id,prompt,model_x,model_y,winner,left,right\n"
    (folder / "gpt4-crowd-comparisons.csv.gz").write_bytes(gzip.compress(f"{header}0,8,1,2,left,Two,One".encode()))
    people, models = (only(one) for one in parse(folder, "llmfao"))
    assert people.pair == models.pair
    assert models.votes == (Vote("a", "GPT-4", annotator_kind="model", presented_first="a"),)
    assert len(FORMATS["llmfao"].files(folder)) == 5


def test_llmfao_names_missing_files_and_columns(tmp_path: Path) -> None:
    folder = write_llmfao(tmp_path / "llmfao", "")
    (folder / "crowd-comparisons.csv.gz").write_bytes(gzip.compress(b"id,prompt\n"))
    with pytest.raises(InputError, match="model_x"):
        parse(folder, "llmfao")
    (folder / "models.jsonl").unlink()
    with pytest.raises(InputError, match=r"models\.jsonl"):
        parse(folder, "llmfao")


PANDALM = {
    "idx": 5,
    "motivation_app": "Mail",
    "cmp_key": "x-1_y-2",
    "instruction": "Do.",
    "input": "",
    "response1": "",
    "response2": "Done.",
}
PANDALM |= {"annotator1": 0, "annotator2": 1, "annotator3": 2}


def write_pandalm(path: Path, content: object) -> Path:
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    return path


def test_pandalm_gives_three_judgments_a_row(tmp_path: Path) -> None:
    (good,) = parse(write_pandalm(tmp_path / "testset-v1.json.gz", [PANDALM | {"input": "Now."}]).parent, "pandalm")
    assert only(good).pair == Pair([{"role": "user", "content": "Do.\n\nNow."}], "", "Done.", "Mail", "5", "x-1", "y-2")
    assert [(vote.verdict, vote.annotator_id, vote.key) for vote in only(good).votes] == [
        ("tie", "annotator1", "5/annotator1"),
        ("a", "annotator2", "5/annotator2"),
        ("b", "annotator3", "5/annotator3"),
    ]


def test_pandalm_verdicts_on_a_lost_text_are_kept_and_other_defects_are_not(tmp_path: Path) -> None:
    changes = [{"response1": True}, {"response2": 7}, {"annotator2": 3}, {"annotator2": True}, {"annotator3": "1"}, {"instruction": ""}]
    lost, *bad = parse(write_pandalm(tmp_path / "x.json.gz", [PANDALM | change for change in changes] + [7]), "pandalm")
    judged = only(lost)
    assert judged.pair is not None
    assert (judged.pair.response_a, len(judged.votes)) == (None, 3)
    reasons = ["invalid_response2", "invalid_annotator2", "invalid_annotator2", "invalid_annotator3", "missing_instruction", "not_a_row"]
    assert [one.reason for one in bad if isinstance(one, BadRow)] == reasons


@pytest.mark.parametrize("content", [{"rows": []}, [{"idx": 1}]])
def test_pandalm_refuses_another_file(content: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"array|no column"):
        parse(write_pandalm(tmp_path / "x.json.gz", content), "pandalm")


@needs_llmfao
def test_the_real_llmfao_has_the_counts_of_its_note() -> None:
    every = [only(one) for one in parse(SHARED / "llmfao", "llmfao") if isinstance(one, GoodRow)]
    judges = Counter((vote.annotator_kind, vote.annotator_id) for one in every for vote in one.votes if vote.annotator_kind == "model")
    assert judges == {("model", "GPT-4"): 2139, ("model", "GPT-3"): 2139}
    parsed = [one for one in every if one.votes[0].annotator_kind == "human"]
    votes = Counter(vote.verdict for one in parsed for vote in one.votes)
    assert len(parsed) == 8931
    assert votes["a"] + votes["b"] == 5460
    assert len({vote.annotator_id for one in parsed for vote in one.votes}) == 124
    assert len({one.pair.key for one in parsed if one.pair}) == 2139


@needs_pandalm
def test_the_real_pandalm_has_the_counts_of_its_note() -> None:
    pairs = pairs_of(SHARED / "pandalm", "pandalm")
    assert len(pairs) == 999
    assert (sum(pair.response_a is None for pair in pairs), sum(pair.response_b is None for pair in pairs)) == (4, 2)
    assert (sum(pair.response_a == "" for pair in pairs), sum(pair.response_b == "" for pair in pairs)) == (29, 25)
    assert len({pair.prompt[0]["content"] for pair in pairs if pair.prompt}) == 170
    assert len({(pair.model_a, pair.model_b) for pair in pairs}) == 10

"""Mutated rows over all formats: nothing crashes, every source row is read exactly once, and what is good can be landed.

The rows are counted outside the readers: each mutated row carries its number, and the raw texts of what was read must give them back.
"""

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data_contracts.errors import InputError
from data_contracts.home import Home
from tasks.sources import FORMATS
from tasks.sources.rows import BadRow, GoodRow, Row
from tests.tasks.deliveries import deliver_files
from tests.tasks.sources.reading import example
from tests.tasks.sources.test_formats import TOLOKA

FORMS = [name for name in FORMATS if name != "llmfao"]
NUMBER = "row_number"
NUMBERS = {"native": "judgment_id"}
"""The native format knows its columns, and `row_number` is none of them."""
STRANGE: list[Any] = [None, True, False, 0, -1, 10**30, 1e308, float("nan"), float("inf"), -0.0, 2**63]
STRANGE += ["", " ", "\0", "\ud800", "x" * 3000, "é\u202e", "all", "1e5", "2026-13-45", "0001-01-01T00:00:00+14:00"]
STRANGE += [[], {}, [[]], [None], [{}], {"": None}, [{"role": "user"}], {"value": {"value": []}}, [[[[[1]]]]]]
STRANGE += ["\n\nHuman: \n\nAssistant:", {"role": "assistant", "content": "x"}, ["r1", "r1"]]


def base(form: str) -> list[dict[str, Any]]:
    return [dict(TOLOKA)] if form == "toloka" else example(form)


def places_in(value: object) -> Iterator[tuple[Any, Any]]:
    """Every container within a value with each of its keys."""
    pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    for key, inner in pairs:
        yield value, key
        yield from places_in(inner)


def mutated(row: dict[str, Any], luck: random.Random) -> dict[str, Any]:
    row = copy.deepcopy(row)
    for _ in range(luck.choice([0, 1, 1, 2, 5])):
        found = list(places_in(row))
        if not found:
            break
        container, key = luck.choice(found)
        match luck.randrange(5):
            case 0:
                del container[key]
            case 1:
                _, other = luck.choice(found)
                container[key] = copy.deepcopy(luck.choice([other, row.get(other) if isinstance(other, str) else other]))
            case 2 if isinstance(container, list):
                container *= luck.choice([0, 2, 40])
            case _:
                container[key] = copy.deepcopy(luck.choice(STRANGE))
    return row


def broken(line: bytes, luck: random.Random) -> bytes:
    """Now and then a line is damaged behind its number."""
    if luck.random() > 0.05:
        return line
    cut = luck.randrange(line.index(b",") + 1, len(line)) if b"," in line else len(line)
    return line[:cut] + luck.choice([b"", b"\xff\xfe", b"\0", b'"', b"}", b"[" * 2000])


def write_fuzzed(path: Path, form: str, n_rows: int, luck: random.Random) -> None:
    rows = base(form)
    name = NUMBERS.get(form, NUMBER)
    lines = [json.dumps({name: str(n)} | row).encode() for n, row in enumerate(rows)]
    for number in range(len(rows), n_rows):
        row = mutated(luck.choice(rows), luck)
        lines.append(broken(json.dumps({name: str(number)} | row).encode(), luck))
    path.write_bytes(b"\n".join(lines) + b"\n")


def numbers_of(row: Row) -> list[int]:
    return [int(number) for number in re.findall(r'"(?:row_number|judgment_id)": "(\d+)"', row.raw)]


def check(form: str, path: Path, n_rows: int) -> list[Row]:
    """Read a file of mutated rows; each must come out exactly once, and say what it is."""
    rows = [row for _, row in FORMATS[form].parse(path, None)]
    assert sorted(number for row in rows for number in numbers_of(row)) == list(range(n_rows))
    assert len({row.number for row in rows}) == len(rows)
    for row in rows:
        if isinstance(row, BadRow):
            assert row.reason
            (row.reason + row.detail + row.raw).encode()
        else:
            check_good(row)
    return rows


def check_good(row: GoodRow) -> None:
    assert row.judged
    for judged in row.judged:
        assert judged.votes
        pair = judged.pair
        if pair is None:
            assert {vote.op for vote in judged.votes} == {"retract"}
            continue
        assert pair.key is not None or (pair.prompt and pair.response_a is not None and pair.response_b is not None)
        assert {vote.verdict for vote in judged.votes} <= {"a", "b", "tie"}
        texts = [pair.key, pair.response_a, pair.response_b, pair.slice, pair.model_a, pair.model_b, pair.ranking_id]
        texts += [text for message in pair.prompt or [] for text in message.values()]
        texts += [text for vote in judged.votes for text in (vote.annotator_id, vote.key)]
        "".join(text for text in texts if text is not None).encode()


@pytest.mark.parametrize("form", FORMS)
def test_every_mutated_row_is_read_exactly_once(form: str, tmp_path: Path) -> None:
    write_fuzzed(tmp_path / "rows.jsonl", form, 300, random.Random(form))
    path = as_array(tmp_path / "rows.jsonl") if form == "pandalm" else tmp_path / "rows.jsonl"
    n_rows = 300 if form != "pandalm" else len(json.loads(path.read_text()))
    if form == "pandalm":
        rows = [row for _, row in FORMATS[form].parse(path, None)]
        assert len(rows) == n_rows
        return
    rows = check(form, path, n_rows)
    assert {type(row) for row in rows} == {GoodRow, BadRow}


def as_array(path: Path) -> Path:
    """The lines that are JSON, as one array."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    target = path.with_name("rows.json")
    target.write_text(json.dumps(found))
    return target


@pytest.mark.parametrize("form", FORMS)
def test_what_is_read_of_mutated_rows_can_be_landed(form: str, tmp_path: Path) -> None:
    """Read = accepted + quarantined + known: ingest itself refuses a batch whose rows do not add up."""
    write_fuzzed(tmp_path / "rows.jsonl", form, 150, random.Random(f"{form} again"))
    path = as_array(tmp_path / "rows.jsonl") if form == "pandalm" else tmp_path / "rows.jsonl"
    headline = deliver_files(Home(tmp_path / "home"), path, form=form).manifest.headline
    assert headline["rows_read"] == sum(int(headline[f"rows_{fate}"] or 0) for fate in ("accepted", "quarantined", "known"))
    assert headline["rows_accepted"]
    assert headline["rows_quarantined"]


@pytest.mark.parametrize("seed", range(40))
def test_mutated_bytes_of_any_file_give_rows_or_one_error(seed: int, tmp_path: Path) -> None:
    luck = random.Random(seed)
    form = luck.choice(FORMS)
    content = bytearray("".join(json.dumps(row) + "\n" for row in base(form) * 5).encode())
    for _ in range(luck.choice([1, 5, 50])):
        content[luck.randrange(len(content))] = luck.randrange(256)
    path = tmp_path / f"rows{luck.choice(['.jsonl', '.json', '.csv', '.tsv', '.jsonl.gz', '.jsonl.zst', '.parquet'])}"
    path.write_bytes(content)
    error = error_of(form, path)
    if error is not None:
        assert error.where
        assert error.remedy
        str(error).encode()


def error_of(form: str, path: Path) -> InputError | None:
    """Read a file to its end, or to its error."""
    try:
        for _, row in FORMATS[form].parse(path, None):
            assert isinstance(row, (GoodRow, BadRow))
    except InputError as error:
        return error
    return None


@pytest.mark.slow
def test_a_hundred_thousand_mutated_rows(tmp_path: Path) -> None:
    forms = [form for form in FORMS if form != "pandalm"]
    share = -(-100_000 // len(forms))
    for form in forms:
        write_fuzzed(tmp_path / "rows.jsonl", form, share, random.Random(f"{form} many"))
        check(form, tmp_path / "rows.jsonl", share)

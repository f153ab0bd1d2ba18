"""Reading small source files in tests."""

import inspect
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tasks.sources import FORMATS
from tasks.sources.rows import BadRow, GoodRow, Judged, Pair, Row, Vote

SHARED = Path(__file__).parents[3] / "../shared/data"


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test where the shared data set is not there."""
    return pytest.mark.skipif(not (SHARED / name).exists(), reason=f"../shared/data/{name} is not there")


def write(path: Path, rows: Iterable[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def parse(form: str, path: Path, default_slice: str | None = None) -> list[Row]:
    return [row for _, row in FORMATS[form].parse(path, default_slice)]


def read(form: str, folder: Path, *rows: object) -> list[Row]:
    """The rows of a JSON lines file."""
    return parse(form, write(folder / "rows.jsonl", rows))


def judged(row: Row) -> tuple[Judged, ...]:
    assert isinstance(row, GoodRow), row
    return row.judged


def only(row: Row) -> tuple[Pair, Vote]:
    """The pair and the vote of a row that has one of each."""
    ((pair, (vote,)),) = ((one.pair, one.votes) for one in judged(row))
    assert pair is not None
    return pair, vote


def said(row: Row) -> list[tuple[str | None, str | None, str | None, float | None]]:
    """Both texts, verdict and strength of every vote."""
    return [(j.pair.response_a, j.pair.response_b, v.verdict, v.preference_strength) for j in judged(row) if j.pair for v in j.votes]


def reason(row: Row) -> str:
    assert isinstance(row, BadRow), row
    assert row.detail
    return row.reason


def example(form: str) -> list[dict[str, Any]]:
    """The example rows of a format's documentation: its first indented block."""
    block = re.search(r"(?:\n    .*)+", inspect.cleandoc(FORMATS[form].about))
    assert block
    text, rows = block[0].strip(), []
    while text:
        row, end = json.JSONDecoder().raw_decode(text)
        rows.append(row)
        text = text[end:].strip()
    return rows


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * len(texts), texts, strict=False)]

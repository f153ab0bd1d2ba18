"""A request as files for annotation tools; what the tools export is read by the sources of the same names.

    request.jsonl         the native format, without verdicts: one line per comparison, to be filled in
    argilla.json          records with the fields prompt, response_a, response_b, for a label question whose labels are the last two and tie
    label_studio.json     tasks with answer1 (left) and answer2, for the pairwise template

None of them says which comparisons are gold or repeated. Who wrote a response stands in the native rows alone, since which models are
favoured is measured from them: a tool that shows these to annotators should leave `model_a` and `model_b` out.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

Row = Mapping[str, Any]
FILES = {"native": "request.jsonl", "argilla": "argilla.json", "label_studio": "label_studio.json"}


def write_request(rows: pl.DataFrame, request_id: str, folder: Path) -> list[Path]:
    """Write a request's files; their paths.

    Args:
        rows: of the record `requested comparison`.
        request_id: the first digits of the request's id; part of the tasks' ids.
        folder: where they go; files that are there are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    told = rows.to_dicts()
    (folder / FILES["native"]).write_text("".join(json.dumps(_native(row), ensure_ascii=False) + "\n" for row in told))
    for name, task in (("argilla", _argilla), ("label_studio", _label_studio)):
        tasks = [task(row, f"{request_id}-{row['number']}") for row in told]
        (folder / FILES[name]).write_text(json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
    return [folder / name for name in FILES.values()]


def _key(row: Row) -> str | None:
    """The source's own id of a comparison that has one."""
    _, slash, key = (row["comparison_id"] or "").partition("/")
    return key if slash else None


def _prompt(row: Row) -> Any:
    """A single message of the user as its text, several as the list that they are: tools show lists as a conversation."""
    messages = row["prompt"]
    return messages[0]["content"] if [one["role"] for one in messages] == ["user"] else messages


def _native(row: Row) -> dict[str, Any]:
    key = _key(row)
    names = ("response_a", "response_b", "slice", "model_a", "model_b", "presented_first")
    told = {name: row[name] for name in names if row[name] is not None}
    return ({"comparison_id": key} if key else {}) | {"prompt": _prompt(row), **told, "verdict": None}


def _argilla(row: Row, task_id: str) -> dict[str, Any]:
    first, second = ("a", "b") if row["presented_first"] == "a" else ("b", "a")
    fields = {"prompt": _prompt(row), **{f"response_{side}": row[f"response_{side}"] for side in (first, second)}}
    return {"id": task_id, "fields": fields, "metadata": {"comparison_id": _key(row), "slice": row["slice"]}}


def _label_studio(row: Row, task_id: str) -> dict[str, Any]:
    """The left answer is the reader's `a`: of a comparison with an id of its own, sides stay as they are."""
    key = _key(row)
    left = "a" if key or row["presented_first"] == "a" else "b"
    texts = {"answer1": row[f"response_{left}"], "answer2": row[f"response_{'b' if left == 'a' else 'a'}"]}
    return {"id": task_id, "data": {"prompt": _prompt(row), **texts, "comparison_id": key, "slice": row["slice"]}}

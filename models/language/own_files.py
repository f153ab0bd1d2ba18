"""Files of one's own that a policy learns from: prompts, with or without responses, as JSON lines or Parquet.

A row has `prompt`, a text or a list of messages, and where responses are asked for, `response`, a text. What stands in the held-out
splits is left out: nothing may learn from a prompt that something is chosen or judged by.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import InputError, examples
from data_contracts.texts import Message, normalised

JSON_LINES, PARQUET = (".jsonl", ".ndjson"), ".parquet"
FOLDER = "files"
"""Folder of an artifact that holds such files."""


class Row(NamedTuple):
    """One row of such a file."""

    messages: list[Message]
    response: str
    """Empty where none is asked for."""


class Kept(NamedTuple):
    """What is left of the rows of such files."""

    rows: list[Row]
    repeated: int
    """Rows that say what one before them said."""
    held_out: int
    """Rows whose prompt stands in a split that nothing may learn from."""


def read_rows(folder: Path, *, responses: bool) -> list[Row]:
    """The rows of all files in a folder, in order.

    Raises:
        InputError: a file cannot be read, or has rows that are not what they should be; the message names the first ones.
    """
    rows: list[Row] = []
    for path in sorted((folder / FOLDER).iterdir()):
        read = [(number, _row(content, responses)) for number, content in _contents(path)]
        if bad := [f"row {number}: {row}" for number, row in read if isinstance(row, str)]:
            raise InputError(f"{len(bad)} rows are not what they should be: {examples(bad)}", where=path.name, remedy="correct the file")
        rows += [row for _, row in read if isinstance(row, Row)]
    if not rows:
        raise InputError("the files have no rows", where=str(folder), remedy="check them, or leave them out of the recipe")
    return rows


def held_out_prompts(prompts: Path) -> list[list[Message]]:
    """The prompts that a prompt table has in another split than train."""
    table = pq.read_table(prompts, columns=["split", "prompt"]).to_pylist()
    return [row["prompt"] for row in table if row["split"] != "train"]


def keep_apart(rows: Sequence[Row], held_out: Sequence[Sequence[Message]], known: Sequence[Sequence[Message]] = ()) -> Kept:
    """The rows without repetitions, also of prompts that are known already, and without the held-out prompts.

    Two prompts are the same if their messages are, but for case, spaces and compatibility forms of letters.
    """
    out, already = ({_key(messages) for messages in prompts} for prompts in (held_out, known))
    apart = [row for row in rows if _key(row.messages) not in out]
    distinct: dict[tuple[object, str], Row] = {}
    for row in apart:
        if _key(row.messages) not in already:
            distinct.setdefault((_key(row.messages), row.response), row)
    kept = list(distinct.values())
    return Kept(kept, len(apart) - len(kept), len(rows) - len(apart))


def _key(messages: Sequence[Message]) -> tuple[tuple[str, str], ...]:
    return tuple((message["role"], normalised(message["content"])) for message in messages)


def _contents(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a file with their numbers, from 1; a line that is no JSON comes as None."""
    try:
        if path.suffix == PARQUET:
            yield from enumerate(pq.read_table(path).to_pylist(), 1)
        elif path.suffix in JSON_LINES:
            lines = path.read_text(encoding="utf-8").split("\n")
            yield from ((number, _json(line)) for number, line in enumerate(lines, 1) if line.strip())
        else:
            remedy = f"name it with one of {', '.join((*JSON_LINES, PARQUET))}"
            raise InputError(f"the format of {path.name} is not known by its name", where=path.name, remedy=remedy)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise InputError(f"the file cannot be read: {error}", where=path.name, remedy="check the file") from error


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _row(content: Any, responses: bool) -> Row | str:
    """A row, or what is wrong with it."""
    if not isinstance(content, dict):
        return "it is no JSON object"
    prompt, response = content.get("prompt"), content.get("response") if responses else ""
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        return "`prompt` is neither a text nor a list of messages with `role` and `content`"
    if not isinstance(response, str):
        return "`response` is no text"
    return Row([{"role": message["role"], "content": message["content"]} for message in messages], response)


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(name), str) for name in ("role", "content"))

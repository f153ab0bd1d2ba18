"""Held-out evaluation sets: the prompts that a recipe names so that nothing is trained on them, in plain or gzipped files."""

from pathlib import Path

from pydantic import Field

from data_contracts.errors import InputError
from tasks.sources.files import Parsed, json_lines
from tasks.sources.rows import BadRow, Message, RowError, prompt, user_message
from tasks.sources.streams import open_bytes, reading
from tasks.stage import StageConfig

JSON_LINES, TEXT_LINES = (".jsonl", ".ndjson"), (".txt",)


class EvaluationSetConfig(StageConfig):
    """One held-out evaluation set."""

    name: str = Field(min_length=1, description="the set's name, as the report and the tables show it")
    path: str = Field(
        description="file, relative to the recipe or absolute: JSON lines with `prompt` (`.jsonl`, `.ndjson`) or prompts as lines (`.txt`)"
    )


def read_prompts(path: Path) -> list[list[Message]]:
    """The prompts of an evaluation set; a bad row is an error, since what is not read would not be kept out.

    Raises:
        InputError: the file cannot be read, is of another format, has a bad row, or no prompt.
    """
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if suffix not in (*JSON_LINES, *TEXT_LINES):
        remedy = f"name it with one of {', '.join((*JSON_LINES, *TEXT_LINES))}"
        raise InputError(f"an evaluation set's format is not known by its name: {path.name}", where=str(path), remedy=remedy)
    found = [_prompt(path, row) for row in json_lines(path)] if suffix in JSON_LINES else _lines(path)
    if not found:
        raise InputError("an evaluation set has no prompt", where=str(path), remedy="check the file, or leave the set out of the recipe")
    return found


def _prompt(path: Path, row: Parsed | BadRow) -> list[Message]:
    if isinstance(row, BadRow):
        raise _bad_row(path, row.number, row.detail)
    number, _, content = row
    try:
        return prompt(content if isinstance(content, dict) else {})
    except RowError as error:
        raise _bad_row(path, number, str(error)) from error


def _lines(path: Path) -> list[list[Message]]:
    with reading(path), open_bytes(path) as file:
        lines = file.read().removeprefix(b"\xef\xbb\xbf").splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise _bad_row(path, number, f"the line is not UTF-8: {error.reason}") from error
        if text.strip():
            found.append([user_message(text.strip())])
    return found


def _bad_row(path: Path, number: int, detail: str) -> InputError:
    return InputError(f"an evaluation set has a bad row {number}: {detail}", where=str(path), remedy="correct the file")

"""Erasing: what is to be forgotten, as one list, and the rows and passages of stored files that hold it.

Each function takes the content of one kind of file and gives it back without what is to be forgotten, and how many rows went. Erasing
twice is erasing once.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import polars as pl
import pyarrow as pa
from markupsafe import escape
from pydantic import BaseModel, ConfigDict, Field

from data_contracts.manifest import content_hash
from data_contracts.tombstones import FORGOTTEN
from tasks.privacy.screening import PEOPLE
from tasks.sources.rows import user_message

ANNOTATORS = ("annotator_id", "annotator_1", "annotator_2")
QUOTING = ("reply", "failure", "note")
"""Columns of running text, in which a model, or a program of its, may quote what it was shown."""
RESPONSES = ("response", "response_a", "response_b", "chosen", "rejected")
SIMULATED = "simulated/"
"""Stands in the lake before the own ids of `feedback.jsonl`."""
SHORTEST_PASSAGE = 12
"""Shorter lines of a forgotten text are not searched for in running text: they would be found where they mean something else."""
EXAMPLE = re.compile(r'<div class="example">.*?(?=<div class="example">|\n<h[23]>|\Z)', re.DOTALL)
FLAGGED = re.compile(r'<tr data-annotator="([^"]*)">.*?</tr>\n')

Aliases = Mapping[str, str]
"""Hashes of prompts by the ids that a table of prompts of its own gives them."""


class Forgotten(BaseModel):
    """All that a request to forget erases; the journal of the request until everything is done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tombstone: str = Field(description="id of the tombstone")
    at: str = Field(description="UTC time of the request")
    reason: str = Field(default="", description="why")
    annotators: tuple[str, ...] = Field(default=(), description="ids of annotators, and their pseudonyms")
    judgments: tuple[str, ...] = Field(default=(), description="ids of judgments")
    comparisons: tuple[str, ...] = Field(default=(), description="ids of comparisons")
    prompts: tuple[str, ...] = Field(default=(), description="ids of prompts")
    named_prompts: tuple[str, ...] = Field(default=(), description="those of the prompts that the request names: they may not come back")
    messages: tuple[tuple[dict[str, str], ...], ...] = Field(default=(), description="the prompts' messages")
    named_messages: tuple[tuple[dict[str, str], ...], ...] = Field(default=(), description="those of the prompts that the request names")
    responses: tuple[tuple[str, str], ...] = Field(
        default=(), description="hash of the prompt and text of each response that stands in these comparisons only"
    )
    raw: tuple[str, ...] = Field(default=(), description="fingerprints of the raw rows that were erased")

    @cached_property
    def prompt_hashes(self) -> frozenset[str]:
        """Hashes of the prompts' messages."""
        return frozenset(content_hash(list(messages)) for messages in self.messages)

    @cached_property
    def passages(self) -> tuple[str, ...]:
        """Lines of the texts that are long enough to be searched for, longest first."""
        texts = [*(message["content"] for messages in self.messages for message in messages), *(text for _, text in self.responses)]
        lines = {line.strip() for text in texts for line in text.splitlines()}
        return tuple(sorted((line for line in lines if len(line) >= SHORTEST_PASSAGE), key=lambda line: (-len(line), line)))

    @cached_property
    def names(self) -> re.Pattern[str]:
        """The ids that are names and no bare numbers, as whole words."""
        names = [re.escape(name) for name in (*self.annotators, *self.judgments) if not name.isdigit()]
        return re.compile(rf"(?<![\w-])(?:{'|'.join(names)})(?![\w-])" if names else r"(?!)")


def erase_table(what: Forgotten, table: pa.Table, aliases: Aliases) -> tuple[pa.Table, int]:
    """A Parquet table without the rows that hold something forgotten."""
    frame, gone = pl.DataFrame(table.select(_told(table))), pl.Series([False] * table.num_rows, dtype=pl.Boolean)
    for columns, ids in ((ANNOTATORS, what.annotators), (("judgment_id",), what.judgments), (("comparison_id",), what.comparisons)):
        for column in set(columns) & set(frame.columns):
            gone |= frame[column].is_in(pl.Series(ids, dtype=pl.String).implode()).fill_null(value=False)
    for column in set(QUOTING) & set(frame.columns):
        gone |= _quotes(frame[column], list(_spelt(what.passages)))
    if "comparison_id" not in frame.columns and {"prompt_id", "prompt"} & set(frame.columns):
        gone |= pl.Series([_of_prompt(what, row, aliases) for row in frame.iter_rows(named=True)], dtype=pl.Boolean)
    return table.filter(pa.array((~gone).to_list(), pa.bool_())), int(gone.sum())


def _quotes(texts: pl.Series, passages: list[str]) -> pl.Series:
    """Which texts hold one of the passages."""
    if not passages:
        return pl.Series([False] * len(texts), dtype=pl.Boolean)
    return texts.str.contains_any(passages).fill_null(value=False)


def _told(table: pa.Table) -> list[str]:
    """The columns that can tell whether a row is to be forgotten."""
    known = (*ANNOTATORS, *QUOTING, "judgment_id", "comparison_id", "prompt_id", "prompt", "response")
    return [name for name in known if name in table.column_names]


def _of_prompt(what: Forgotten, row: Mapping[str, Any], aliases: Aliases) -> bool:
    """Whether a row is about a forgotten prompt, or holds a forgotten response to one that stays."""
    if row.get("prompt_id") in what.prompts:
        return True
    prompt = row.get("prompt")
    messages = [user_message(prompt)] if isinstance(prompt, str) else prompt
    known = content_hash(messages) if messages else aliases.get(row.get("prompt_id") or "", "")
    return known in what.prompt_hashes or any((known, row[name]) in what.responses for name in RESPONSES if row.get(name))


def aliases_of(what: Forgotten, table: pa.Table) -> dict[str, str]:
    """The ids that a table of prompts gives to prompts that matter here."""
    if not {"prompt_id", "prompt"} <= set(table.column_names) or "response" in table.column_names:
        return {}
    matter = what.prompt_hashes | {prompt for prompt, _ in what.responses}
    hashes = ((row["prompt_id"], content_hash(row["prompt"])) for row in table.select(["prompt_id", "prompt"]).to_pylist() if row["prompt"])
    return {prompt_id: known for prompt_id, known in hashes if known in matter}


def erase_lines(what: Forgotten, text: str) -> tuple[str, int]:
    """A JSON lines file without the rows that hold something forgotten."""
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not _row_is_gone(what, json.loads(line))]
    return "".join(kept), len(lines) - len(kept)


def _row_is_gone(what: Forgotten, row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    people = any(str(row[name]) in what.annotators for name in ANNOTATORS if row.get(name) is not None)
    keyed = f"{SIMULATED}{row.get('judgment_id')}" in what.judgments or f"{SIMULATED}{row.get('comparison_id')}" in what.comparisons
    return people or keyed or _of_prompt(what, row, {})


def blank_quarantine(what: Forgotten, table: pa.Table) -> tuple[pa.Table, list[str]]:
    """Quarantined rows with raw row and detail blanked where they hold something forgotten; and the raw rows that went.

    The rows themselves stay, since they are counted.
    """
    rows = table.to_pylist()
    gone = [row["raw"] != FORGOTTEN and raw_is_gone(what, row["source"], row["raw"], row["detail"]) for row in rows]
    for name in ("raw", "detail"):
        values = pa.array([FORGOTTEN if blank else row[name] for blank, row in zip(gone, rows, strict=True)], pa.string())
        place = table.column_names.index(name)
        table = table.set_column(place, table.schema.field(name), values)
    return table, [row["raw"] for blank, row in zip(gone, rows, strict=True) if blank]


def raw_is_gone(what: Forgotten, source: str, raw: str, detail: str) -> bool:
    """Whether a raw row tells of something forgotten: by a value of its own, or, where it cannot be parsed, by any word of it."""
    if any(passage in text for text in (raw, detail) for passage in _spelt(what.passages)):
        return True
    try:
        values = list(_values(json.loads(raw)))
    except (ValueError, RecursionError):
        return what.names.search(raw) is not None
    people = [value for name, value in values if not value.isdigit() or PEOPLE.search(name)]
    texts = {message["content"] for messages in what.messages for message in messages} | {text for _, text in what.responses if text}
    return (
        any(value in what.annotators for value in people)
        or any(f"{source}/{value}" in what.judgments for name, value in values if name == "judgment_id")
        or any(value in texts for _, value in values)
        or what.names.search(detail) is not None
    )


def _values(content: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The plain values of a parsed row with the names that they stand under, as texts."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _values(value, str(key))
    elif isinstance(content, list):
        for value in content:
            yield from _values(value, name)
    elif content is not None:
        yield name, str(content)


def erase_report(what: Forgotten, html: str) -> tuple[str, int]:
    """A report without the examples and the rows of annotators that show something forgotten."""
    names = {str(escape(name)) for name in what.annotators}
    found = [match.group() for match in EXAMPLE.finditer(html) if _shows(what, match.group())]
    found += [match.group() for match in FLAGGED.finditer(html) if match.group(1) in names]
    for part in found:
        html = html.replace(part, "")
    html, more = erase_text(what, html)
    return html, len(found) + more


def _shows(what: Forgotten, example: str) -> bool:
    contents = [message["content"] for messages in what.messages for message in messages]
    texts = [*contents, *(text for _, text in what.responses if len(text) >= SHORTEST_PASSAGE)]
    return any(f"> {escape(text)}</p>" in example or f">{escape(text)}</p>" in example for text in texts)


def erase_text(what: Forgotten, text: str) -> tuple[str, int]:
    """Any text with forgotten names and passages replaced."""
    text, count = what.names.subn(FORGOTTEN, text)
    for passage in _spelt(what.passages):
        if passage in text:
            count += text.count(passage)
            text = text.replace(passage, FORGOTTEN)
    return text, count


def _spelt(passages: Iterable[str]) -> Iterator[str]:
    """Passages as they stand in plain text, in JSON and in HTML."""
    for passage in passages:
        yield from dict.fromkeys((passage, json.dumps(passage)[1:-1], json.dumps(passage, ensure_ascii=False)[1:-1], str(escape(passage))))

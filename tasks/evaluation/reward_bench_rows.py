"""Rows of RewardBench's layouts: pairs (version 1), and one good response or several among more (version 2)."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_contracts.errors import InputError, examples
from models.reward.evaluation.reward_bench import TIES, Item
from tasks.sources.files import rows_of
from tasks.sources.rows import BadRow, RowError, name, prompt, required_name, slice_name

TIES_ID = re.compile(r"(ref|tied):(.+)")


def read_items(path: Path) -> list[Item]:
    """The rows of a file; docs/reward_bench.md has examples.

    Raises:
        InputError: the file cannot be read, or has no rows, or rows that cannot be used; the message names the first five.
    """
    items, bad = [], []
    for row in rows_of(path):
        if isinstance(row, BadRow):
            bad.append(f"row {row.number}: {row.detail}")
            continue
        number, _, content = row
        try:
            items.append(_item(number, content))
        except RowError as error:
            bad.append(f"row {number}: {error.detail}")
    twice = [key for key, count in Counter(item.id for item in items if item.subset == TIES).items() if count > 1]
    bad += [f"the id {key!r} stands in several rows of {TIES}" for key in twice]
    if bad or not items:
        what = f"{len(bad)} rows cannot be used: {examples(bad)}" if bad else "the file has no rows"
        raise InputError(what, where=str(path), remedy="docs/reward_bench.md has an example of each layout")
    return items


def _item(number: int, content: Any) -> Item:
    if not isinstance(content, dict):
        raise RowError("not_a_row", "expected named values")
    required_name(content, "subset")
    subset = str(slice_name(content, "subset"))
    chosen, rejected = (_responses(content, column) for column in ("chosen", "rejected"))
    item = Item(number, name(content, "id") or str(number), subset, prompt(content), chosen, rejected)
    if subset == TIES and not TIES_ID.fullmatch(item.id):
        raise RowError("invalid_id", f"id: expected ref:NUMBER or tied:NUMBER in the subset {TIES}, found {item.id!r:.80}")
    if subset != TIES and len(chosen) > 1:
        raise RowError("invalid_chosen", f"chosen: {len(chosen)} responses, where only the subset {TIES} has more than one")
    return item


def _responses(content: Mapping[str, Any], column: str) -> tuple[str, ...]:
    """One response as a text, or several as a list of texts."""
    value = content.get(column)
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(text, str) for text in values):
        raise RowError(f"invalid_{column}", f"{column}: expected a text or a list of texts, found {value!r:.80}")
    return tuple(values)

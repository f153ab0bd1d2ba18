"""Prompts that a learning job answers: read from a prompt table, encoded, and dealt out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.errors import InputError, examples
from data_contracts.records import PROMPT
from data_contracts.texts import Message
from models.language.text import Tokenizer, encode_prompt
from models.randomness import generator


class Prompt(NamedTuple):
    """One row of a prompt table."""

    prompt_id: str
    slice: str
    messages: Sequence[Message]


class EncodedPrompts(NamedTuple):
    """Prompts as one tokenizer's tokens."""

    prompts: list[Prompt]
    ids: list[list[int]]
    cut: int
    """Prompts that were longer than allowed and lost their beginning."""


def load_prompts(path: Path, split: str, limit: int | None = None) -> list[Prompt]:
    """The prompts of a split, the first ones by prompt id when there is a limit.

    Raises:
        InputError: the file is no prompt table, or the split is empty.
    """
    try:
        rows = pq.read_table(path, columns=list(PROMPT.schema.names)).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"no prompt table: {error}", where=str(path), remedy=f"give one with columns {', '.join(PROMPT.schema.names)}"
        ) from error
    prompts = sorted(Prompt(row["prompt_id"], row["slice"], row["prompt"]) for row in rows if row["split"] == split)
    if not prompts:
        raise InputError(
            f"the split {split!r} has no prompts", where=str(path), remedy="add prompts, or change how prompts are divided into splits"
        )
    return prompts[:limit]


def encode_prompts(tokenizer: Tokenizer, prompts: Sequence[Prompt], max_tokens: int) -> EncodedPrompts:
    """The prompts as tokens, up to where the response begins.

    Raises:
        InputError: a prompt has no message, or comes to no token at all.
    """
    _refuse([prompt.prompt_id for prompt in prompts if not prompt.messages], "no message")
    encoded = [encode_prompt(tokenizer, prompt.messages, max_tokens) for prompt in prompts]
    _refuse([prompt.prompt_id for prompt, item in zip(prompts, encoded, strict=True) if not item.ids], "no token")
    return EncodedPrompts(list(prompts), [item.ids for item in encoded], sum(item.cut for item in encoded))


def _refuse(prompt_ids: Sequence[str], lacking: str) -> None:
    if prompt_ids:
        raise InputError(f"prompts with {lacking}: {examples(prompt_ids)}", remedy="take them out, or give them a text")


def deal(count: int, size: int, turn: int, *seed: int | str) -> list[int]:
    """Rows of the `turn`-th hand (from 0) of `size` out of `count` rows, pass after pass over all of them in new random orders.

    A function of its arguments alone: where in the data a job stands needs no saving beyond the turn.
    """
    wanted = range(turn * size, (turn + 1) * size)
    orders = {p: generator(*seed, p).permutation(count) for p in range(wanted[0] // count, wanted[-1] // count + 1)}
    return [int(orders[position // count][position % count]) for position in wanted]

"""Sequences that begin alike in one row, so that a decoder reads their common beginning once.

A row is the beginning and then the ending of each sequence, one behind the other. A token sees the beginning and what stands before
it in its own ending, and its position is the one it has in its own sequence, so every hidden state is what it would be alone.

Shapes: B rows, L tokens, N sequences.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

ROW_TOKENS = 1024
"""Longest row that is made by joining: attention in a row costs the square of its length."""
LEAST_SAVING = 0.1
"""Least share of a sequence's tokens that joining a row has to save: a longer row costs attention."""
Ids = Sequence[int]


class Row(NamedTuple):
    """Sequences that are read together."""

    places: list[int]
    """Where they stand among all sequences."""
    shared: int
    """Tokens of the beginning that they share; of a sequence by itself, all."""
    length: int
    """Tokens of the row."""


class Packed(NamedTuple):
    """Rows as a decoder reads them."""

    ids: Tensor
    """(B, L)"""
    position_ids: Tensor
    """(B, L)"""
    attention_mask: Tensor
    """(B, 1, L, L): what is added to the attention's logits; the least number where a token is not seen."""
    rows: Tensor
    """(N,): the row of each sequence."""
    columns: Tensor
    """(N,): the column of its last token."""


def can_share(backbone: Any) -> bool:
    """Whether a decoder takes its attention mask as it is given one, in every layer: not where windows slide or states recur."""
    config = backbone.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windows = getattr(config, "sliding_window", None) if getattr(config, "layer_types", None) is None else None
    return bool(getattr(backbone, "_supports_attention_backend", False) and kinds == {"full_attention"} and not windows)


def shared_rows(sequences: Sequence[Ids]) -> list[Row]:
    """Every sequence in one row; one joins the row of its neighbour in alphabetical order where that saves enough tokens."""
    rows: list[Row] = []
    for place in sorted(range(len(sequences)), key=lambda i: list(sequences[i])):
        own = sequences[place]
        if rows:
            last = rows[-1]
            shared = min(common(sequences[last.places[0]], own), last.shared, len(own) - 1, *(len(sequences[i]) - 1 for i in last.places))
            joined = Row([*last.places, place], shared, sum(len(sequences[i]) for i in last.places) + len(own) - len(last.places) * shared)
            saved = last.length + len(own) - joined.length
            if saved >= LEAST_SAVING * len(own) and joined.length <= ROW_TOKENS:
                rows[-1] = joined
                continue
        rows.append(Row([place], len(own), len(own)))
    return rows


def common(one: Ids, other: Ids) -> int:
    """How many tokens two sequences have in common at their beginnings."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def pack(rows: Sequence[Row], sequences: Sequence[Ids], pad_id: int, like: Tensor) -> Packed:
    """Rows padded on the right, with a mask of another tensor's type and place; its N sequences are those of the rows, in their order."""
    width = max(row.length for row in rows)
    ids, positions = torch.full((len(rows), width), pad_id), torch.zeros(len(rows), width, dtype=torch.long)
    owner = torch.full((len(rows), width), -1)  # -1 is padding, 0 the beginning, k the k-th ending
    ends: list[tuple[int, int]] = []
    for i, row in enumerate(rows):
        parts = [list(sequences[row.places[0]][: row.shared]), *(list(sequences[place][row.shared :]) for place in row.places)]
        at = 0
        for k, part in enumerate(parts):
            first, after = (0 if k == 0 else row.shared), at + len(part)
            ids[i, at:after], owner[i, at:after] = torch.tensor(part, dtype=torch.long), k
            positions[i, at:after] = torch.arange(first, first + len(part))
            at = after
            if k:
                ends.append((i, at - 1))
    mask = torch.zeros(len(rows), 1, width, width, dtype=like.dtype).masked_fill_(~_sees(owner)[:, None], torch.finfo(like.dtype).min)
    found = torch.tensor(ends)
    return Packed(*(tensor.to(like.device) for tensor in (ids, positions, mask, found[:, 0], found[:, 1])))


def _sees(owner: Tensor) -> Tensor:
    """Whether the token of one column sees that of another, (B, L, L): itself and what is before it in the beginning or its own ending."""
    theirs, own = owner[:, None, :], owner[:, :, None]
    causal = torch.ones(owner.shape[1], owner.shape[1], dtype=torch.bool).tril()
    return causal & ((theirs == own) | (theirs == 0))

"""The fast path of reading whole sequences with a Llama: the last hidden states at the columns that somebody asks for, and no others.

Sequences begin in the first column, so that no token sees padding behind it and the attention needs no mask. The last layer's queries,
and all that comes behind them, are computed for the columns that are asked for alone. Shapes: B sequences of L tokens, T columns of each.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from models.language.llama.functions import turned_heads
from models.language.llama.weights import FusedLayer, FusedLlama
from models.language.text import Padded, flush_left


def states_at(llama: FusedLlama, padded: Padded, columns: Tensor) -> Tensor:
    """The last hidden states (B, T, width), with gradients, of the tokens that are the columns-th (B, T) of their sequences (B, L)."""
    if not bool(padded.mask.all()):
        longest = int(padded.mask.sum(1).max())
        padded = Padded(*(tensor[:, :longest] for tensor in flush_left(padded)))
    rows, length = padded.ids.shape
    states = llama.embedded(padded.ids.flatten())
    turns = llama.turns(torch.arange(length, device=states.device)).repeat(rows, 1, 1)

    def attend(*parts: Tensor) -> Tensor:
        return _attended(rows, *parts, mask=None)

    *first, last = llama.layers
    for layer in first:
        states = llama.through(layer, states, turns, attend)
    return llama.last_normed(_through_last(llama, last, states, turns, columns)).view(*columns.shape, -1)


def _through_last(llama: FusedLlama, layer: FusedLayer, states: Tensor, turns: Tensor, columns: Tensor) -> Tensor:
    """The states (B·T, width) behind the last layer, where they are asked for."""
    (heads, kv_heads), rows, length = llama.heads, len(columns), len(states) // len(columns)
    of_queries = layer.attention_out.shape[1]
    own, of_others = layer.query_key_value[:of_queries], layer.query_key_value[of_queries:]
    places = (columns + length * torch.arange(rows, device=columns.device)[:, None]).flatten()
    keys, values = turned_heads(llama.normed(states), of_others, turns, (kv_heads, kv_heads), kv_heads)
    wanted = states.index_select(0, places)
    [queries] = turned_heads(llama.normed(wanted), own, turns[places], (heads,), heads)
    sees = torch.arange(length, device=columns.device) <= columns[:, None, :, None]
    return llama.behind_attention(layer, wanted, _attended(rows, queries, keys, values, mask=sees))


def _attended(rows: int, queries: Tensor, keys: Tensor, values: Tensor, *, mask: Tensor | None) -> Tensor:
    """What so many rows of queries (N, heads, D) read, (N, heads · D): causally, or what a mask (B, 1, T, L) lets them see."""
    q, k, v = (part.view(rows, -1, *part.shape[1:]).transpose(1, 2) for part in (queries, keys, values))
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=q.shape[1] != k.shape[1])
    return found.transpose(1, 2).flatten(2).flatten(0, 1)

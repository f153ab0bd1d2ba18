"""The fast path of sampling from a Llama: prompts and decoding steps with fused weights, and nothing else around them.

Shapes: B rows, P tokens of the longest prompt, D numbers of a head.
"""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from models.language.llama.weights import FusedLlama
from models.language.text import Padded


class LlamaDecoding:
    """The state of a batch that is sampled: keys and values with room for the responses, and what of them is padding."""

    def __init__(self, llama: FusedLlama, head: Tensor, prompts: Padded, room: int) -> None:
        """`head` is the matrix (V, width) that gives logits."""
        self._llama, self._head, self._prompts = llama, head.to(llama.layers[0].down.dtype), prompts
        size, (_, kv_heads) = llama.backbone.config.head_dim, llama.heads
        shape = (len(llama.layers), 2, len(prompts.ids), kv_heads, prompts.ids.shape[1] + room, size)
        self._cache = [tuple(layer) for layer in llama.layers[0].down.new_empty(shape)]
        """Keys and values (B, kv_heads, P + room, D) of each layer."""
        self._filled = 0
        self._positions = prompts.position_ids
        self._mask = F.pad(prompts.mask, (0, room), value=True)
        self._is_padded = not bool(prompts.mask.all())

    def start(self) -> Tensor:
        """Logits (B, V) of the token after the prompts."""
        length, mask = self._prompts.ids.shape[1], None
        if self._is_padded:
            causal = self._mask.new_ones(length, length).tril()
            itself = self._mask.new_ones(length).diag()  # so that the states of padding are numbers
            mask = (causal & self._mask[:, None, None, :length]) | itself
        logits = self._forward(self._prompts.ids, mask)
        self._positions = self._positions[:, -1:]
        return logits

    def advance(self, tokens: Tensor) -> Tensor:
        """Logits (B, V) of the token after these, (B,)."""
        self._positions = self._positions + 1
        return self._forward(tokens[:, None], self._mask[:, None, None, : self._filled + 1] if self._is_padded else None)

    def keep(self, rows: Tensor) -> None:
        """Let all rows but these leave the batch."""
        self._cache = [(keys[rows], values[rows]) for keys, values in self._cache]
        self._mask, self._positions = self._mask[rows], self._positions[rows]

    def _forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Logits (B, V) behind tokens (B, t), which see what a mask (…, t, P) lets them see, or all up to themselves."""
        states, turns = self._llama.embedded(ids.flatten()), self._llama.turns(self._positions.flatten())
        for layer, cache in zip(self._llama.layers, self._cache, strict=True):

            def attend(*parts: Tensor, cache: tuple[Tensor, ...] = cache) -> Tensor:
                return self._attended(cache, *(part.view(*ids.shape, *part.shape[1:]).transpose(1, 2) for part in parts), mask=mask)

            states = self._llama.through(layer, states, turns, attend)
        self._filled += ids.shape[1]
        return self._logits(states.view(*ids.shape, -1)[:, -1])

    def _logits(self, states: Tensor) -> Tensor:
        """Logits (B, V) of the states (B, width) behind the last layer."""
        return F.linear(self._llama.last_normed(states).to(self._head.dtype), self._head).float()

    def _attended(self, cache: tuple[Tensor, ...], queries: Tensor, keys: Tensor, values: Tensor, *, mask: Tensor | None) -> Tensor:
        """What queries (B, heads, t, D) read, (B·t, heads · D), once their own keys and values are in the cache."""
        end = self._filled + queries.shape[2]
        for kept, new in zip(cache, (keys, values), strict=True):
            kept[:, :, self._filled : end] = new
        seen_keys, seen_values = (kept[:, :, :end] for kept in cache)
        shared, causal = queries.shape[1] != keys.shape[1], mask is None and queries.shape[2] > 1
        found = F.scaled_dot_product_attention(queries, seen_keys, seen_values, attn_mask=mask, is_causal=causal, enable_gqa=shared)
        return found.transpose(1, 2).flatten(2).flatten(0, 1)

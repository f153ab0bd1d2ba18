"""Decoding steps of a Llama as a CUDA graph: a step is some hundreds of small kernels, and a GPU ends each before Python asks for the next.

A graph is captured for one number of rows and one length of the cache, so each step attends to all columns of the cache and is told by
a mask which of them are filled. Rows that ended stay until no more than half of the graph's go on; then the rest move together, and a
graph is captured for them. To capture one costs about as much as two steps without.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from models.language.llama.decoding import LlamaDecoding
from models.language.llama.weights import FusedLlama
from models.language.text import Padded

ALIGNMENT = 8
"""The cache's columns are a multiple of this, as the kernels of attention with a mask want them."""


class CapturedDecoding(LlamaDecoding):
    """The state of a batch that is sampled, all of it on the device. On a CPU, which has no graphs, the same step is called as it is."""

    def __init__(self, llama: FusedLlama, head: Tensor, prompts: Padded, room: int) -> None:
        """See `LlamaDecoding`."""
        super().__init__(llama, head, prompts, room + -(prompts.ids.shape[1] + room) % ALIGNMENT)
        for keys, values in self._cache:  # what is masked is read all the same, and must be numbers
            keys.zero_()
            values.zero_()
        self._places = torch.arange(len(prompts.ids), device=prompts.ids.device)
        """Which of the graph's rows those that go on are, (B,)."""
        self._replay: Callable[[], object] | None = None

    def advance(self, tokens: Tensor) -> Tensor:
        """Logits (B, V) of the token after these, (B,)."""
        if self._replay is None:
            self._replay = self._captured(self._prompts.ids.new_zeros(len(self._positions)))
        self._tokens[self._places] = tokens
        self._replay()
        self._filled += 1
        return self._output[self._places]

    def keep(self, rows: Tensor) -> None:
        """Let all rows but these leave the batch."""
        self._places = self._places[rows]
        if 2 * len(self._places) <= len(self._positions):
            super().keep(self._places)
            self._places = torch.arange(len(rows), device=rows.device)
            self._replay = None

    def _captured(self, tokens: Tensor) -> Callable[[], object]:
        """What replays the step behind tokens (B,) that are written into these, for as many rows as there are now."""
        self._tokens, self._positions = tokens, self._positions.clone()
        self._end = torch.tensor([self._filled], device=tokens.device)
        """The column (1,) that the step fills."""
        self._columns = torch.arange(self._mask.shape[1], device=tokens.device)
        if tokens.device.type != "cuda":
            return self._step
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                self._step()
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        return graph.replay

    def _step(self) -> None:
        """From the tokens, what is behind them; leaves the logits (B, V) in `_output`."""
        self._positions.add_(1)
        seen = (self._mask & (self._columns <= self._end))[:, None, None]
        bias = torch.zeros(seen.shape, dtype=self._head.dtype, device=seen.device).masked_fill_(~seen, -torch.inf)
        states, turns = self._llama.embedded(self._tokens), self._llama.turns(self._positions.flatten())
        for layer, (keys, values) in zip(self._llama.layers, self._cache, strict=True):

            def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor = keys, values: Tensor = values) -> Tensor:
                for kept, new in ((keys, k), (values, v)):
                    kept.index_copy_(2, self._end, new[:, :, None])
                queries = q.view(*k.shape[:2], -1, q.shape[-1])  # those that share a head of keys, as if they were several tokens
                return F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias).flatten(1)

            states = self._llama.through(layer, states, turns, attend)
        self._end.add_(1)
        self._output = self._logits(states)

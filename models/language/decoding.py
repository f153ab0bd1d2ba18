"""The state of a batch that is being sampled: the key-value cache, for any causal language model of the transformers library."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from models.language.language_model import LanguageModel
from models.language.text import Padded


class Decoding:
    """The model's state while a batch is sampled: the key-value cache, and what in it is padding."""

    def __init__(self, model: LanguageModel, prompts: Padded, room: int) -> None:
        self._model, self._prompts = model, prompts
        self._cache = DynamicCache(config=model.config)
        self._cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in self._cache.layers]
        self._mask = prompts.mask.long()
        self._positions = prompts.position_ids[:, -1:]
        self._is_padded = not bool(prompts.mask.all())

    def start(self) -> Tensor:
        """Logits (B, V) of the token after the prompts."""
        return self._forward(self._prompts.ids, self._prompts.position_ids)

    def advance(self, tokens: Tensor) -> Tensor:
        """Logits (B, V) of the token after these, (B,)."""
        self._positions = self._positions + 1
        self._mask = F.pad(self._mask, (0, 1), value=1)
        return self._step(tokens)

    def keep(self, rows: Tensor) -> None:
        """Let all rows but these leave the batch."""
        self._cache.batch_select_indices(rows)
        self._mask, self._positions = self._mask[rows], self._positions[rows]

    def _step(self, tokens: Tensor) -> Tensor:
        return self._forward(tokens[:, None], self._positions)

    def _forward(self, ids: Tensor, position_ids: Tensor) -> Tensor:
        output = self._model(
            input_ids=ids,
            attention_mask=self._mask if self._is_padded else None,
            position_ids=position_ids,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """A layer of the cache with room for the response from the start; the library's copies everything at each token."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make the room, once the shapes are known from the prompts' keys and values."""
        super().lazy_initialization(key_states, value_states)
        self._filled = 0
        self._all_keys, self._all_values = (
            states.new_empty((*states.shape[:2], states.shape[2] + self._room, states.shape[3])) for states in (key_states, value_states)
        )

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Add keys and values (B, heads, t, D); returns all of them so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self._filled = self._filled, self._filled + key_states.shape[2]
        self._all_keys[:, :, start : self._filled] = key_states
        self._all_values[:, :, start : self._filled] = value_states
        self.keys, self.values = self._all_keys[:, :, : self._filled], self._all_values[:, :, : self._filled]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        self._all_keys, self._all_values = self._all_keys[indices], self._all_values[indices]

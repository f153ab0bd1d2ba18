"""The fast path of sampling from Llama models: a decoding step with fused projections and nothing else around it.

The prompts go through the library's own forward pass; only the steps of one token per row are taken here.
"""

from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from models.language.decoding import Decoding
from models.language.language_model import LanguageModel
from models.language.text import Padded


class FusedLayer(NamedTuple):
    """One layer's weights, those that read the same input as one matrix."""

    attention_norm: Tensor
    query_key_value: Tensor
    attention_out: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor


class FusedLlama(NamedTuple):
    """A copy of a Llama's weights as they are now, laid out for decoding; it does not follow later updates."""

    layers: list[FusedLayer]

    @classmethod
    def of(cls, model: LanguageModel) -> Self | None:
        """The fused weights, or None where the model is no plain Llama and must take the general path."""
        if not _is_plain_llama(model):
            return None
        with torch.no_grad():
            return cls([_fuse(layer) for layer in model.model.layers])


class LlamaDecoding(Decoding):
    """The decoding of a batch by a Llama whose weights are fused."""

    def __init__(self, model: LanguageModel, prompts: Padded, room: int, fused: FusedLlama) -> None:
        super().__init__(model, prompts, room)
        self._fused = fused

    def _step(self, tokens: Tensor) -> Tensor:
        model = self._model.model
        hidden = model.embed_tokens(tokens[:, None])
        cos, sin = model.rotary_emb(hidden, self._positions)
        mask = self._mask[:, None, None].bool() if self._is_padded else None
        for index, layer in enumerate(self._fused.layers):
            hidden = hidden + self._attention(index, layer, self._normed(hidden, layer.attention_norm), cos[:, None], sin[:, None], mask)
            gate, up = F.linear(self._normed(hidden, layer.mlp_norm), layer.gate_up).chunk(2, -1)
            hidden = hidden + F.linear(F.silu(gate) * up, layer.down)
        logits: Tensor = self._model.lm_head(model.norm(hidden))[:, -1].float()
        return logits

    def _attention(self, index: int, layer: FusedLayer, hidden: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        config = self._model.config
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        mixed = F.linear(hidden, layer.query_key_value).view(*hidden.shape[:2], heads + 2 * kv_heads, -1).transpose(1, 2)
        turned = _rotate(mixed[:, : heads + kv_heads], cos, sin)
        keys, values = self._cache.layers[index].update(turned[:, heads:], mixed[:, heads + kv_heads :])
        attended = F.scaled_dot_product_attention(turned[:, :heads], keys, values, attn_mask=mask, enable_gqa=heads != kv_heads)
        return F.linear(attended.transpose(1, 2).flatten(2), layer.attention_out)

    def _normed(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(hidden, weight.shape, weight, self._model.config.rms_norm_eps)


def _rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions of states (B, heads, 1, D), queries and keys at once."""
    first, second = states.chunk(2, -1)
    return states * cos + torch.cat([-second, first], -1) * sin


def _fuse(layer: Any) -> FusedLayer:
    attention, mlp = layer.self_attn, layer.mlp
    return FusedLayer(
        attention_norm=layer.input_layernorm.weight,
        query_key_value=torch.cat([_weight(projection) for projection in (attention.q_proj, attention.k_proj, attention.v_proj)]),
        attention_out=_weight(attention.o_proj),
        mlp_norm=layer.post_attention_layernorm.weight,
        gate_up=torch.cat([_weight(mlp.gate_proj), _weight(mlp.up_proj)]),
        down=_weight(mlp.down_proj),
    )


def _weight(projection: Any) -> Tensor:
    """A projection's matrix, with what LoRA has learned beside it."""
    if type(projection) is nn.Linear:
        return projection.weight
    weight: Tensor = projection.base_layer.weight + projection.get_delta_weight("default")
    return weight


def _is_plain_llama(model: LanguageModel) -> bool:
    """A Llama whose projections are plain linear maps without bias, with or without LoRA's matrices: no quantised weights."""
    if type(model) is not LlamaForCausalLM or model.config.hidden_act != "silu":
        return False
    projections = [module for name, module in model.model.layers.named_modules() if name.endswith("_proj")]
    plain = [getattr(module, "base_layer", module) if hasattr(module, "get_delta_weight") else module for module in projections]
    return all(type(module) is nn.Linear and module.bias is None for module in plain)

"""A Llama's weights as its fast paths take them: what reads the same input is one matrix, and norms are part of the matrix behind them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import LlamaForCausalLM, LlamaModel

from models.language.llama.functions import gated, turned_heads, unit_rms

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""What queries (N, heads, D) read from keys and values (N, kv_heads, D): (N, heads · D)."""
ROTATIONS_BY_LENGTH = ("dynamic", "longrope")
"""The library's rotary embeddings whose frequencies depend on how long the text is that is read with them."""


class FusedLayer(NamedTuple):
    """One layer's matrices, in the order in which they are used."""

    query_key_value: Tensor
    """The numbers of a query's or key's head stand in pairs that a rotation turns together."""
    attention_out: Tensor
    gate_up: Tensor
    down: Tensor


class FusedLlama(NamedTuple):
    """A Llama's weights as they are now, laid out anew; gradients go through to the model's own."""

    backbone: LlamaModel
    layers: list[FusedLayer]

    @classmethod
    def of(cls, model: Any, *, with_adapters: bool = False) -> Self | None:
        """The weights of a Llama, with a head or without; None where it is no plain one and must take the general path.

        Under autocast they are in its type, and so is all that is computed with them; what leaves the last norm is in the weights' own.

        Args:
            with_adapters: whether matrices of LoRA are added to those beside which they stand, or make a Llama no plain one.
        """
        if not is_plain_llama(model, with_adapters=with_adapters):
            return None
        backbone = model.model if type(model) is LlamaForCausalLM else model
        device = backbone.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else backbone.dtype
        return cls(backbone, [_fuse(layer, backbone.config.head_dim, dtype) for layer in backbone.layers])

    @property
    def heads(self) -> tuple[int, int]:
        """Heads of queries, and of keys as of values."""
        return self.backbone.config.num_attention_heads, self.backbone.config.num_key_value_heads

    def embedded(self, ids: Tensor) -> Tensor:
        """What the first layer reads of tokens (N,), (N, width)."""
        states: Tensor = self.backbone.embed_tokens(ids)
        return states.to(self.layers[0].down.dtype)

    def turns(self, position_ids: Tensor) -> Tensor:
        """The rotations (N, 1, D/2) of positions (N,), as complex numbers; the library's rotary embedding has both halves alike."""
        cos, sin = self.backbone.rotary_emb(self.backbone.norm.weight, position_ids[None])
        half = cos.shape[-1] // 2
        return torch.complex(cos[0, :, None, :half], sin[0, :, None, :half])

    def through(self, layer: FusedLayer, states: Tensor, turns: Tensor, attend: Attend) -> Tensor:
        """The states (N, width) behind a layer."""
        heads, kv_heads = self.heads
        parts = turned_heads(self.normed(states), layer.query_key_value, turns, (heads, kv_heads, kv_heads), heads + kv_heads)
        return self.behind_attention(layer, states, attend(*parts))

    def behind_attention(self, layer: FusedLayer, states: Tensor, attended: Tensor) -> Tensor:
        """The states (N, width) behind a layer, from those in front of it and what its heads have read (N, heads · D)."""
        states = torch.addmm(states, attended, layer.attention_out.t())
        return torch.addmm(states, gated(F.linear(self.normed(states), layer.gate_up)), layer.down.t())

    def normed(self, states: Tensor) -> Tensor:
        """States (N, width) of root mean square 1."""
        return unit_rms(states, self.backbone.config.rms_norm_eps)

    def last_normed(self, states: Tensor) -> Tensor:
        """What the model's head reads, (N, width), from the states behind the last layer."""
        weight: Tensor = self.backbone.norm.weight
        return self.normed(states) * weight


def _fuse(layer: Any, head_size: int, dtype: torch.dtype) -> FusedLayer:
    attention, mlp = layer.self_attn, layer.mlp
    queries, keys = (_in_pairs(_weight(projection), head_size) for projection in (attention.q_proj, attention.k_proj))
    fused = FusedLayer(
        query_key_value=torch.cat([queries, keys, _weight(attention.v_proj)]) * layer.input_layernorm.weight,
        attention_out=_weight(attention.o_proj),
        gate_up=torch.cat([_weight(mlp.gate_proj), _weight(mlp.up_proj)]) * layer.post_attention_layernorm.weight,
        down=_weight(mlp.down_proj),
    )
    return FusedLayer(*(weight.to(dtype) for weight in fused))


def _in_pairs(weight: Tensor, head_size: int) -> Tensor:
    """The rows of each head, which a rotation turns first half with second half, in the order that puts such two side by side."""
    return weight.view(-1, 2, head_size // 2, weight.shape[1]).transpose(1, 2).flatten(0, 2)


def _weight(projection: Any) -> Tensor:
    """A projection's matrix, with what LoRA has learned beside it."""
    if type(projection) is nn.Linear:
        return projection.weight
    weight: Tensor = projection.base_layer.weight + projection.get_delta_weight("default")
    return weight


def is_plain_llama(model: Any, *, with_adapters: bool = False) -> bool:
    """A Llama in float32 or float64 whose projections are plain linear maps without bias, whose rotations depend on the position alone, and
    which is to keep all that it computes."""
    backbone = model.model if type(model) is LlamaForCausalLM else model
    if type(backbone) is not LlamaModel or backbone.config.hidden_act != "silu" or backbone.dtype not in (torch.float32, torch.float64):
        return False
    if backbone.rotary_emb.rope_type in ROTATIONS_BY_LENGTH or any(getattr(m, "gradient_checkpointing", False) for m in backbone.modules()):
        return False
    projections = [module for name, module in backbone.layers.named_modules() if name.endswith("_proj")]
    if with_adapters:
        projections = [getattr(module, "base_layer", module) if hasattr(module, "get_delta_weight") else module for module in projections]
    return all(type(module) is nn.Linear and module.bias is None for module in projections)

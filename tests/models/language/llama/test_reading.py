"""Reading whole sequences with a Llama. Oracle: transformers' own forward and backward pass on each text alone, without padding."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from models.language.llama.reading import states_at
from models.language.llama.weights import FusedLlama
from models.language.text import pad_left, pad_right

ROWS = [[5, 6, 7, 8, 9, 10], [11], [12, 13, 14], [15, 16, 17, 18, 19, 20]]
COLUMNS = [[3, 5], [0, 0], [1, 2], [0, 4]]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fewer key heads": {"num_key_value_heads": 2},
    "wide heads": {"head_dim": 6, "num_key_value_heads": 1},
    "one layer": {"num_hidden_layers": 1},
    "stretched positions": {
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
    },
}


def llama(**changes: Any) -> LlamaModel:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 32}
    model = LlamaModel(LlamaConfig(**{**shape, "initializer_range": 0.4, "max_position_embeddings": 64, **changes})).double()
    for norm in (module for name, module in model.named_modules() if name.endswith("norm")):
        torch.nn.init.normal_(norm.weight, mean=1, std=0.3)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pad", [pad_left, pad_right])
def test_states_and_gradients_are_the_librarys(kind: str, pad: Any) -> None:
    model = llama(**KINDS[kind])
    fused = FusedLlama.of(model)
    assert fused is not None
    found = states_at(fused, pad(ROWS, 3), torch.tensor(COLUMNS))
    expected = torch.stack([model(torch.tensor([row])).last_hidden_state[0, at] for row, at in zip(ROWS, COLUMNS, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # the library's norms compute in float32
    weights = torch.randn(found.shape, dtype=torch.float64)
    mine, theirs = (torch.autograd.grad((states * weights).sum(), list(model.parameters())) for states in (found, expected))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_only_a_plain_llama_is_read_so() -> None:
    dynamic = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    for changes in ({"attention_bias": True}, {"mlp_bias": True}, {"hidden_act": "gelu"}, {"rope_parameters": dynamic}):
        assert FusedLlama.of(llama(**changes)) is None
    assert FusedLlama.of(llama().bfloat16()) is None
    checkpointing = llama()
    checkpointing.activation_checkpointing_enable()
    assert FusedLlama.of(checkpointing) is None

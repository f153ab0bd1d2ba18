"""Rows that share a beginning. Oracles: each sequence by itself, and masks written out by hand."""

import random
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.reward.prefix_sharing import Row, can_share, pack, shared_rows
from models.reward.reward_model import new_reward_model

TOKENS = st.lists(st.integers(4, 6), min_size=1, max_size=8)


def families(seed: int = 0) -> list[list[int]]:
    """Four prompts with one to four responses each, in no order."""
    source = random.Random(seed)
    rows = []
    for responses in (1, 2, 3, 4):
        prompt = [source.randrange(4, 20) for _ in range(10)]
        rows += [[*prompt, *(source.randrange(4, 20) for _ in range(source.randint(1, 12)))] for _ in range(responses)]
    source.shuffle(rows)
    return rows


@pytest.mark.parametrize("name", ["chat_model", "gpt2_model", "stories"])
def test_scores_and_gradients_are_those_of_each_sequence_alone(name: str, request: pytest.FixtureRequest) -> None:
    torch.manual_seed(0)
    model, rows = new_reward_model(request.getfixturevalue(name), 512).double(), families()
    assert can_share(model.backbone)
    assert len(shared_rows(rows)) == 4
    gradients, scores = [], []
    for found in (model.score_tokens(rows), torch.cat([model.score_tokens([row]) for row in rows])):
        scores.append(found.detach())
        total = (found[:, 0] * torch.arange(len(rows))).sum()
        gradients.append([g for g in torch.autograd.grad(total, list(model.parameters()), allow_unused=True) if g is not None])
    torch.testing.assert_close(scores[0], scores[1], atol=1e-6, rtol=0)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)  # Llama's norms compute in float32
    torch.testing.assert_close(model.score_encoded(rows, 30), scores[1], atol=1e-6, rtol=0)


@given(sequences=st.lists(TOKENS, min_size=1, max_size=8))
def test_every_sequence_can_be_read_out_of_its_row(sequences: list[list[int]]) -> None:
    rows = shared_rows(sequences)
    assert sorted(place for row in rows for place in row.places) == list(range(len(sequences)))
    packed = pack(rows, sequences, 0, torch.zeros(()))
    for place, i, column in zip([p for row in rows for p in row.places], packed.rows.tolist(), packed.columns.tolist(), strict=True):
        seen = packed.attention_mask[i, 0, column] == 0
        assert packed.ids[i][seen].tolist() == sequences[place]
        assert packed.position_ids[i][seen].tolist() == list(range(len(sequences[place])))


def test_a_mask_by_hand() -> None:
    """Beginning 7 8, endings 1 and 2 3, one column of padding, which sees itself and the beginning lest its softmax be empty."""
    packed = pack([Row([0, 1], 2, 5), Row([2], 6, 6)], [[7, 8, 1], [7, 8, 2, 3], [1, 2, 3, 4, 5, 6]], 0, torch.zeros(()))
    assert packed.ids[0].tolist() == [7, 8, 1, 2, 3, 0]
    assert packed.position_ids[0].tolist() == [0, 1, 2, 2, 3, 0]
    sees = ["100000", "110000", "111000", "110100", "110110", "110001"]
    assert (packed.attention_mask[0, 0] == 0).int().tolist() == [[int(digit) for digit in row] for row in sees]
    assert (packed.attention_mask[1, 0] == 0).tolist() == torch.ones(6, 6).tril().bool().tolist()
    assert list(zip(packed.rows.tolist(), packed.columns.tolist(), strict=True)) == [(0, 2), (0, 4), (1, 5)]


def test_a_row_stays_short_and_a_little_in_common_joins_nothing() -> None:
    long = [[*range(4, 404), *[i] * 200] for i in (1, 2, 3, 5)]
    assert [len(row.places) for row in shared_rows(long)] == [3, 1]  # 400 + 3 · 200 tokens, and 1,200 would be too many
    assert len(shared_rows([[4, *[i] * 20] for i in range(5, 9)])) == 4


@pytest.mark.parametrize(
    ("config", "shares"),
    [
        ({"layer_types": ["full_attention"]}, True),
        ({}, True),
        ({"layer_types": ["full_attention", "sliding_attention"]}, False),
        ({"layer_types": ["linear_attention"]}, False),
        ({"sliding_window": 64}, False),
        ({"sliding_window": 64, "layer_types": ["full_attention"]}, True),
    ],
)
def test_windows_and_recurrent_layers_do_not_share(config: dict[str, object], shares: bool) -> None:
    assert can_share(SimpleNamespace(config=SimpleNamespace(**config), _supports_attention_backend=True)) is shares
    assert not can_share(SimpleNamespace(config=SimpleNamespace(**config)))

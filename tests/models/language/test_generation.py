"""Sampling. Oracles: transformers' own greedy generation, softmax, the model's card, and the model without a cache."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from data_contracts.errors import RecipeError
from models.configs import SamplingConfig
from models.language.generation import Generation, generate, sample_tokens
from models.language.language_model import LanguageModel, load_language_model, response_batch, response_logprobs
from models.language.llama.captured import CapturedDecoding
from models.language.llama.decoding import LlamaDecoding
from models.language.llama.weights import FusedLlama
from models.language.text import decode_response, load_tokenizer
from models.randomness import derive_seed, uniforms
from tests.models.decoding_steps import PROMPTS, compare_with_the_library

GREEDY = 1e-5
"""A temperature at which the likeliest token is always taken."""
CHI_SQUARE_999 = 24.32
"""99.9 % point of chi-square with 7 degrees of freedom, from a table."""


def sample(model: LanguageModel, prompts: list[list[int]], *, eos_id: int = 3, seed: int = 0, **sampling: float) -> list[Generation]:
    config = SamplingConfig(**{"max_new_tokens": 12, **sampling})  # type: ignore[arg-type]
    return generate(model, prompts, config, seeds=[derive_seed(seed, i) for i in range(len(prompts))], eos_id=eos_id, pad_id=0)


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def test_stories_begin_as_their_model_card_says(stories: Path) -> None:
    model, tokenizer = load_language_model(stories), load_tokenizer(stories)
    [story] = sample(model, [[1]], eos_id=1, max_new_tokens=60, temperature=GREEDY)
    text = decode_response(tokenizer, story.ids, 1)
    assert text.startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball."
    )


@pytest.mark.parametrize("name", ["chat_model", "gpt2_model"])
def test_greedy_equals_transformers_on_each_prompt_alone(name: str, request: pytest.FixtureRequest) -> None:
    model = load_language_model(request.getfixturevalue(name))
    found = sample(model, PROMPTS, temperature=GREEDY, batch_size=3)
    for prompt, generation in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([prompt])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, eos_token_id=3, pad_token_id=0
        )
        assert generation.ids == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize("name", ["chat_model", "gpt2_model"])
def test_logprobs_are_those_of_a_forward_pass_without_cache(name: str, request: pytest.FixtureRequest) -> None:
    model = load_language_model(request.getfixturevalue(name))
    found = sample(model, PROMPTS, temperature=0.8)
    batch = response_batch(PROMPTS, [generation.ids for generation in found], pad_id=0)
    expected = response_logprobs(model, batch, 0.8)
    for row, generation in enumerate(found):
        torch.testing.assert_close(torch.tensor(generation.logprobs), expected[row, : len(generation.ids)], atol=3e-5, rtol=1e-5)


def test_a_response_depends_on_its_prompt_and_seed_alone(chat_model: Path) -> None:
    model = load_language_model(chat_model)
    together = sample(model, PROMPTS)
    apart = [sample(model, PROMPTS, batch_size=size) for size in (1, 2, 4)]
    assert all([g.ids for g in other] == [g.ids for g in together] for other in apart)
    assert [g.ids for g in sample(model, PROMPTS, max_new_tokens=5)] == [g.ids[:5] for g in together]
    assert [g.ids for g in sample(model, PROMPTS, seed=1)] != [g.ids for g in together]


def test_end_token_ends_a_response_and_means_nothing_in_a_prompt(chat_model: Path) -> None:
    model = load_language_model(chat_model)
    free = sample(model, [*PROMPTS, [3, 3], [3, 20, 3]], eos_id=-1)  # no token ends anything
    ends = {generation.ids[2] for generation in free}
    for end in ends:
        for whole, ended in zip(free, sample(model, [*PROMPTS, [3, 3], [3, 20, 3]], eos_id=end), strict=True):
            length = whole.ids.index(end) + 1 if end in whole.ids else len(whole.ids)
            assert ended.ids == whole.ids[:length]
            assert ended.ended == (end in whole.ids)
            assert len(ended.logprobs) == length


def test_sampling_follows_the_softmax() -> None:
    logits, draws = torch.tensor([0.3, -1.0, 2.0, 0.0, 1.1, -0.4, 0.9, -2.0]), 20_000
    chances = torch.from_numpy(uniforms(list(range(draws)), 1))[:, 0]
    counts = torch.bincount(sample_tokens(logits.expand(draws, -1), chances), minlength=8).double()
    expected = logits.double().softmax(-1) * draws
    assert float(((counts - expected) ** 2 / expected).sum()) < CHI_SQUARE_999


def test_sampling_inverts_the_cumulative_distribution() -> None:
    logits = torch.tensor([0.25, 0.0, 0.5, 0.25]).log().expand(6, -1)
    chances = torch.tensor([0.0, 0.24, 0.25, 0.7499, 0.7501, 1 - 2**-53], dtype=torch.float64)
    assert sample_tokens(logits, chances).tolist() == [0, 0, 2, 2, 3, 3]  # a token of probability 0 is never drawn


def test_sampled_tokens_follow_the_model(chat_model: Path) -> None:
    """The seven likeliest first tokens, and all others together, against the model's own probabilities."""
    model, draws = load_language_model(chat_model), 2000
    found = sample(model, [[20, 30]] * draws, max_new_tokens=1)
    with torch.no_grad():
        probabilities = model(torch.tensor([[20, 30]])).logits[0, -1].double().softmax(-1)
    likeliest = probabilities.topk(7)
    counts = [sum(generation.ids[0] == token for generation in found) for token in likeliest.indices.tolist()]
    observed = torch.tensor([*counts, draws - sum(counts)]).double()
    expected = torch.cat([likeliest.values, 1 - likeliest.values.sum(0, keepdim=True)]) * draws
    assert float(((observed - expected) ** 2 / expected).sum()) < CHI_SQUARE_999


def test_what_does_not_fit_into_the_context_is_an_error(gpt2_model: Path) -> None:
    model = load_language_model(gpt2_model)
    assert len(sample(model, [[5] * 84])[0].ids) <= 12  # 84 + 12 = 96, exactly the context
    with pytest.raises(RecipeError, match="85 tokens"):
        sample(model, [[5] * 85])


def test_no_prompts_no_responses(chat_model: Path) -> None:
    assert sample(load_language_model(chat_model), []) == []


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("way", [LlamaDecoding, CapturedDecoding])
@pytest.mark.parametrize("name", ["chat_model", "shared_heads_model", "stories"])
def test_the_fused_llama_gives_the_logits_of_the_library(name: str, way: type[LlamaDecoding], request: pytest.FixtureRequest) -> None:
    """Padded rows, rows that leave, and (all but the first) fewer key heads than query heads; unwritten memory is NaN."""
    compare_with_the_library(request.getfixturevalue(name), way, "cpu")


def test_only_a_plain_llama_is_fused(gpt2_model: Path, chat_model: Path) -> None:
    assert FusedLlama.of(load_language_model(gpt2_model)) is None
    adapted = load_language_model(chat_model)
    adapted.model.layers[0].self_attn.q_proj = torch.nn.Sequential(adapted.model.layers[0].self_attn.q_proj)
    assert FusedLlama.of(adapted) is None


@pytest.mark.parametrize("name", ["chat_model", "gpt2_model"])
def test_in_float64_the_batch_changes_no_response(name: str, request: pytest.FixtureRequest) -> None:
    model = load_language_model(request.getfixturevalue(name)).double()
    together = [g.ids for g in sample(model, PROMPTS)]
    for size in (1, 2, 4):
        assert [g.ids for g in sample(model, PROMPTS, batch_size=size)] == together
    backwards = generate(
        model, PROMPTS[::-1], SamplingConfig(max_new_tokens=12), seeds=[derive_seed(0, i) for i in range(5)][::-1], eos_id=3, pad_id=0
    )
    assert [g.ids for g in backwards[::-1]] == together

"""Language models. Oracle: transformers' own forward pass on each text alone, without padding."""

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from data_contracts.errors import InputError, RecipeError
from models.configs import PretrainConfig
from models.language.language_model import (
    count_parameters,
    load_language_model,
    new_language_model,
    response_batch,
    response_logprobs,
    save_language_model,
)
from models.language.text import load_tokenizer
from tests.models.learning import response_logits

MODELS = ("chat_model", "gpt2_model")


def random_rows(seed: int, count: int, longest: int) -> list[list[int]]:
    source = random.Random(seed)
    return [[source.randrange(300) for _ in range(source.randint(1, longest))] for _ in range(count)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_response_logprobs_equal_transformers_on_each_text_alone(name: str, temperature: float, request: pytest.FixtureRequest) -> None:
    directory = request.getfixturevalue(name)
    plain, ours = AutoModelForCausalLM.from_pretrained(directory).eval(), load_language_model(directory)
    prompts, responses = random_rows(0, 6, 12), random_rows(1, 6, 9)
    logprobs = response_logprobs(ours, response_batch(prompts, responses, pad_id=0), temperature)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        logits = plain(torch.tensor([prompt + response])).logits[0] / temperature
        expected = torch.log_softmax(logits, -1)[range(len(prompt) - 1, len(prompt) + len(response) - 1), response]
        torch.testing.assert_close(logprobs[row, : len(response)], expected, atol=2e-5, rtol=1e-5)
        assert not logprobs[row, len(response) :].any()


def test_logits_are_those_of_responses_only(chat_model: Path) -> None:
    model = load_language_model(chat_model)
    batch = response_batch([[4] * 30, [5] * 20], [[7, 8, 9], [7]], pad_id=0)
    assert response_logits(model, batch, 1.0).shape == (2, 3, model.config.vocab_size)


@pytest.mark.parametrize("at_once", [1, 300, 1200, 1 << 20])
def test_logprobs_and_derivatives_are_the_same_however_many_logits_stand_at_once(
    chat_model: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no logits are kept for the backward pass where fewer are allowed than there are."""
    model, batch = load_language_model(chat_model).double(), response_batch(random_rows(0, 6, 12), random_rows(1, 6, 9), pad_id=0)
    logits = response_logits(model, batch, 0.7)
    expected = logits.log_softmax(-1).gather(-1, batch.responses[..., None])[..., 0] * batch.response_mask
    weights, widths = torch.randn(expected.shape), set()
    exact = torch.autograd.grad((expected * weights).sum(), list(model.parameters()))
    monkeypatch.setattr("models.language.language_model.LOGITS_AT_ONCE", at_once)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: (widths.add(tensor.shape[-1:]), tensor)[1], lambda tensor: tensor):
        found = response_logprobs(model, batch, 0.7)
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad((found * weights).sum(), list(model.parameters())), exact, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert (logits.shape[-1:] in widths) == (at_once >= logits.numel())


def test_whatever_the_padding_holds_changes_nothing(chat_model: Path) -> None:
    model = load_language_model(chat_model)
    prompts, responses = random_rows(2, 5, 10), random_rows(3, 5, 10)
    one, other = (response_logprobs(model, response_batch(prompts, responses, pad_id=pad), 1.0) for pad in (0, 250))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_new_model_ties_its_embeddings() -> None:
    model = new_language_model(PretrainConfig(hidden_size=32, layers=1, heads=2), 300, pad_id=0, eos_id=3)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    width, inner = 32, 88
    assert count_parameters(model) == 300 * width + 4 * width * width + 3 * width * inner + 3 * width
    with pytest.raises(RecipeError, match="heads"):
        new_language_model(PretrainConfig(hidden_size=32, heads=5), 300, pad_id=0, eos_id=3)


def test_saved_model_is_plain_transformers_and_repeats_its_bytes(chat_model: Path, tmp_path: Path) -> None:
    model, tokenizer = load_language_model(chat_model), load_tokenizer(chat_model)
    for name in ("one", "two"):
        save_language_model(model, tokenizer, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(files)
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)
    assert not any(str(chat_model).encode() in (tmp_path / "one" / name).read_bytes() for name in files)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "one")
    ids = torch.tensor([[4, 5, 6]])
    assert torch.equal(plain(ids).logits, model(ids).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "one").encode("clean my lamp") == tokenizer.encode("clean my lamp")


def test_dropout_is_off_in_training_too(gpt2_model: Path) -> None:
    assert json.loads((gpt2_model / "config.json").read_text())["resid_pdrop"] == 0.5
    model, ids = load_language_model(gpt2_model).train(), torch.tensor([[4, 5, 6]])
    assert torch.equal(model(ids).logits, model(ids).logits)


def test_directories_that_hold_no_model(chat_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=str(tmp_path / "none")):
        load_language_model(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"config\.json"):
        load_language_model(tmp_path / "empty")
    shutil.copytree(chat_model, tmp_path / "no_weights", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(InputError, match="safetensors"):
        load_language_model(tmp_path / "no_weights")


def test_pickled_weights_are_not_read(chat_model: Path, tmp_path: Path) -> None:
    shutil.copytree(chat_model, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(load_language_model(chat_model).state_dict(), tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        load_language_model(tmp_path / "model")


def test_weights_that_are_missing_are_not_made_up(chat_model: Path, tmp_path: Path) -> None:
    shutil.copytree(chat_model, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file)
    removed = next(name for name in sorted(weights) if "mlp" in name)
    save_file({name: tensor for name, tensor in weights.items() if name != removed}, file, {"format": "pt"})
    with pytest.raises(InputError, match=removed.replace(".", r"\.")):
        load_language_model(tmp_path / "model")
    file.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="no model can be loaded"):
        load_language_model(tmp_path / "model")

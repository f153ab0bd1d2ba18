"""The reward model's score. Oracles: transformers' hidden states of each text alone, and the score's definition."""

import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from data_contracts.errors import InputError
from models.configs import LoRAConfig, RewardModelConfig
from models.language.text import Padded, load_tokenizer, pad_left, pad_right
from models.reward.fine_tuning import FineTuning
from models.reward.reward_model import RewardModel, load_reward_model, new_reward_model
from tests.models.conftest import sentences, user

ROOT = Path(__file__).parents[3]
BACKBONES = ("chat_model", "gpt2_model", "bert_model", "stories")
DECODERS = ("chat_model", "gpt2_model", "stories")


def reward_model(name: str, request: pytest.FixtureRequest, max_length: int = 512, **ensemble: Any) -> RewardModel:
    torch.manual_seed(5)
    model = new_reward_model(request.getfixturevalue(name), max_length, **ensemble)
    model.gain.fill_(1.5)
    model.bias.fill_(-0.5)
    return model


@cache
def loaded_once(directory: Path) -> RewardModel:
    """Property tests run many times."""
    torch.manual_seed(5)
    return new_reward_model(directory, 512)


def random_rows(model: RewardModel, count: int = 9, longest: int = 25) -> list[list[int]]:
    source, end = random.Random(0), model.settings.eos_id
    return [[*(source.randrange(4, 20) for _ in range(source.randint(1, longest))), end] for _ in range(count)]


@pytest.mark.parametrize("name", BACKBONES)
def test_score_is_the_head_on_transformers_hidden_state(name: str, request: pytest.FixtureRequest) -> None:
    model, plain = reward_model(name, request), AutoModel.from_pretrained(request.getfixturevalue(name)).eval()
    rows = random_rows(model)
    scores = model.score_encoded(rows)[:, 0]
    for row, score in zip(rows, scores, strict=True):
        with torch.no_grad():
            hidden = plain(torch.tensor([row])).last_hidden_state[0]
            pooled = hidden.mean(0) if name == "bert_model" else hidden[-1]
            expected = 1.5 * (pooled @ model.head.weight[0] + model.head.bias[0]) - 0.5
        torch.testing.assert_close(score, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=7),
    budget=st.integers(1, 300),
    side=st.sampled_from([pad_left, pad_right]),
    extra=st.integers(0, 15),
)
@settings(max_examples=12)
def test_batch_and_padding_change_no_score(
    name: str, lengths: list[int], budget: int, side: Callable[..., Padded], extra: int, request: pytest.FixtureRequest
) -> None:
    model = loaded_once(request.getfixturevalue(name))
    source = random.Random(repr(lengths))
    rows = [[*(source.randrange(4, 20) for _ in range(length - 1)), model.settings.eos_id] for length in lengths]
    with torch.no_grad():
        alone = torch.cat([model.score_tokens([row]) for row in rows])
        longer = [*rows, [4] * (max(lengths) + extra)]  # a longer row beside them is that much more padding
        padded = model.score_padded(side(longer, 5))[: len(rows)]
    torch.testing.assert_close(model.score_encoded(rows, budget), alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", DECODERS)
def test_hidden_states_are_the_same_behind_left_padding(name: str, request: pytest.FixtureRequest) -> None:
    model = reward_model(name, request)
    rows = random_rows(model)
    left, right = pad_left(rows, 0), pad_right(rows, 7)
    torch.testing.assert_close(model.hidden_states(left)[left.mask], model.hidden_states(right)[right.mask], atol=1e-5, rtol=1e-5)


def test_an_end_token_inside_counts_for_nothing(request: pytest.FixtureRequest) -> None:
    model = reward_model("chat_model", request)
    end = model.settings.eos_id
    one, other = [4, end, 5, 6, end], [4, end, 5, 9, end]
    scores = model.score_encoded([one, other])
    assert scores[0] != scores[1]


@pytest.mark.parametrize("name", BACKBONES)
def test_texts_score_as_their_tokens(name: str, request: pytest.FixtureRequest) -> None:
    model = reward_model(name, request)
    prompts, responses = [user(text) for text in sentences(6)], sentences(6, seed=1)
    ids = [model.encode(*pair).ids for pair in zip(prompts, responses, strict=True)]
    assert all(row[-1] == model.settings.eos_id for row in ids)
    torch.testing.assert_close(model.score(prompts, responses).score, model.score_tokens(ids)[:, 0].detach(), atol=1e-5, rtol=0)


def test_encoder_reads_its_own_frame(request: pytest.FixtureRequest) -> None:
    model = reward_model("bert_model", request)
    tokenizer = model.tokenizer
    ids = model.encode(user("clean my lamp"), "wipe it").ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "clean", "my", "lamp", "wipe", "it", "[SEP]"]


def test_length_is_lowered_to_the_backbones_context(request: pytest.FixtureRequest) -> None:
    assert reward_model("gpt2_model", request).settings.max_length == 96
    assert reward_model("gpt2_model", request, max_length=50).settings.max_length == 50
    model = reward_model("gpt2_model", request)
    assert torch.isfinite(model.score([user("lamp " * 100)], ["soap " * 200]).score).all()


@pytest.mark.parametrize("members", [1, 3])
def test_normalised_scores_have_mean_0_and_variance_1(members: int, request: pytest.FixtureRequest) -> None:
    model = reward_model("chat_model", request, members=members)
    rows = random_rows(model, count=40)
    before = model.score_encoded(rows)
    model.normalise(before)
    after = model.score_encoded(rows)
    assert after.mean(0).tolist() == pytest.approx([0] * members, abs=1e-5)
    assert after.std(0, correction=0).tolist() == pytest.approx([1] * members, abs=1e-5)
    torch.testing.assert_close(after, (before - before.mean(0)) / before.std(0, correction=0), atol=1e-4, rtol=1e-4)
    model.normalise(torch.full((3, members), 2.0))
    assert torch.isfinite(model.gain).all()


@pytest.mark.parametrize("name", BACKBONES)
def test_saved_and_loaded_is_the_same(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    model = reward_model(name, request, members=3, combination="uncertainty_weighted", uncertainty_coef=0.7)
    model.normalise(model.score_encoded(random_rows(model, count=20)))
    for folder in ("one", "two"):
        model.save(tmp_path / folder)
    loaded = load_reward_model(tmp_path / "one")
    assert loaded.settings == model.settings
    texts = [user(text) for text in sentences(6)], sentences(6, seed=1)
    found, expected = loaded.score(*texts), model.score(*texts)
    assert torch.equal(found.score, expected.score)
    assert torch.equal(found.disagreement, expected.disagreement)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_scores(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    prompts, responses = [user(text) for text in sentences(5)], [*sentences(4, seed=1), ""]
    expected = []
    folders = [*BACKBONES, "chat_model with LoRA"]
    for name in folders:
        model = reward_model(name.partition(" ")[0], request)
        if name.endswith("LoRA"):
            fine_tuning = FineTuning(model, RewardModelConfig(lora=LoRAConfig(rank=2)))
            for matrix in (p for p in model.backbone.parameters() if p.requires_grad):
                torch.nn.init.normal_(matrix, std=0.1)
            fine_tuning.merge()
        model.save(tmp_path / name)
        expected.append(model.score(prompts, responses).score.tolist())
    code = (
        "import json, sys, pathlib; from models.reward.reward_model import load_reward_model\n"
        f"print(json.dumps([load_reward_model(pathlib.Path(p)).score({prompts!r}, {responses!r}).score.tolist() for p in sys.argv[1:]]))"
    )
    command = [sys.executable, "-c", code, *(str(tmp_path / name) for name in folders)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert json.loads(shown) == expected


def test_new_head_has_its_scale(request: pytest.FixtureRequest) -> None:
    torch.manual_seed(0)
    heads = torch.cat([new_reward_model(request.getfixturevalue("chat_model"), 64).head.weight.detach() for _ in range(30)])
    assert float(heads.std()) == pytest.approx(1 / math.sqrt(33), rel=0.1)


def test_directories_that_hold_no_reward_model(chat_model: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with pytest.raises(InputError, match="no reward model"):
        load_reward_model(chat_model)
    reward_model("chat_model", request).save(tmp_path / "model")
    shutil.move(tmp_path / "model" / "head.safetensors", tmp_path / "head")
    with pytest.raises(InputError, match="no reward model"):
        load_reward_model(tmp_path / "model")


# What can be wrong with what comes in.


@pytest.mark.parametrize("name", BACKBONES)
def test_an_empty_response_is_scored_by_its_end(name: str, request: pytest.FixtureRequest) -> None:
    model = reward_model(name, request)
    encoded = model.encode(user("clean my lamp"), "")
    assert (encoded.ids[-1], encoded.response_length) == (model.settings.eos_id, 1)
    assert torch.isfinite(model.score([user("clean my lamp"), user("")], ["", ""]).score).all()


def test_what_is_longer_than_the_context_is_cut_and_said(request: pytest.FixtureRequest) -> None:
    """GPT-2 here has 96 positions, of which the prompt keeps a quarter."""
    model = reward_model("gpt2_model", request)
    long_prompt, long_response = (model.encode(*texts) for texts in ((user("lamp " * 200), "wipe it"), (user("lamp"), "soap " * 200)))
    assert (long_prompt.prompt_cut, long_prompt.response_cut) == (True, False)
    assert (long_response.prompt_cut, long_response.response_cut) == (False, True)
    assert len(long_prompt.ids) == len(long_response.ids) == 96


def changed(directory: Path, into: Path) -> tuple[dict[str, torch.Tensor], Path]:
    shutil.copytree(directory, into)
    return load_file(into / "model.safetensors"), into / "model.safetensors"


def test_a_backbone_without_a_pad_token_scores_as_with_one(chat_model: Path, tmp_path: Path) -> None:
    shutil.copytree(chat_model, tmp_path / "model")
    tokenizer = load_tokenizer(chat_model)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "model")
    models = []
    for directory in (chat_model, tmp_path / "model"):
        torch.manual_seed(0)
        models.append(new_reward_model(directory, 64))
    assert models[1].tokenizer.pad_token_id is None
    rows = random_rows(models[0])
    torch.testing.assert_close(models[0].score_encoded(rows), models[1].score_encoded(rows))


def test_weights_that_are_not_finite_are_refused(chat_model: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    tensors, path = changed(chat_model, tmp_path / "backbone")
    tensors["model.norm.weight"][3] = math.nan
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"the backbone has weights that are not finite.*backbone"):
        new_reward_model(tmp_path / "backbone", 64)
    model = reward_model("chat_model", request)
    with torch.no_grad():
        model.head.weight[0, 0] = math.inf
    model.save(tmp_path / "head")
    with pytest.raises(InputError, match=r"the head has weights that are not finite"):
        load_reward_model(tmp_path / "head")


def test_a_tokenizer_of_a_larger_vocabulary_is_refused(chat_model: Path, tmp_path: Path) -> None:
    shutil.copytree(chat_model, tmp_path / "model")
    tokenizer = load_tokenizer(chat_model)
    tokenizer.add_tokens(["<|more|>", "<|and more|>"])
    tokenizer.save_pretrained(tmp_path / "model")
    count = len(load_tokenizer(chat_model))
    with pytest.raises(InputError, match=rf"{count + 2} tokens and the model knows {count}.*own tokenizer"):
        new_reward_model(tmp_path / "model", 64)

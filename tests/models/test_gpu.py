"""On a GPU: what a CPU says of scores, samples and log-probabilities holds there, and the learning jobs run. Oracle: the CPU."""

import json
from pathlib import Path

import pytest
import torch

from models.configs import SamplingConfig
from models.language.generation import generate
from models.language.language_model import load_language_model
from models.language.llama.captured import CapturedDecoding
from models.language.text import load_tokenizer, pad_token
from models.reward.reward_model import load_reward_model, new_reward_model
from tests.models import learning
from tests.models.conftest import sentences, user
from tests.models.decoding_steps import compare_with_the_library
from tests.models.reward import test_train_reward_model
from tests.models.test_resume import start

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
"""Matrix products of a GPU add in another order; float32 as the jobs use it, without TF32."""


def test_a_score_is_the_same(tmp_path: Path, chat_model: Path) -> None:
    new_reward_model(chat_model, 64, members=2).save(tmp_path / "model")
    prompts, responses = [user(text) for text in sentences(40)], sentences(40, seed=1)
    here = load_reward_model(tmp_path / "model").score(prompts, responses)
    there = load_reward_model(tmp_path / "model").to("cuda").score(prompts, responses)
    torch.testing.assert_close(there.score, here.score, **CLOSE)
    torch.testing.assert_close(there.disagreement, here.disagreement, **CLOSE)


def test_samples_are_the_same_and_so_are_their_logprobs(chat_model: Path) -> None:
    """Seeds belong to prompts and not to devices; a tie between two tokens may be broken otherwise, but these have none."""
    tokenizer = load_tokenizer(chat_model)
    prompts = [tokenizer.encode(text) for text in sentences(20)]
    seeds, sampling = list(range(20)), SamplingConfig(max_new_tokens=12, batch_size=8)
    ids = {"eos_id": tokenizer.eos_token_id, "pad_id": pad_token(tokenizer)}
    here, there = (
        generate(load_language_model(chat_model).to(device), prompts, sampling, seeds=seeds, **ids) for device in ("cpu", "cuda")
    )
    assert [one.ids for one in there] == [one.ids for one in here]
    for one, other in zip(there, here, strict=True):
        torch.testing.assert_close(torch.tensor(one.logprobs), torch.tensor(other.logprobs), **CLOSE)


@pytest.mark.parametrize("name", ["chat_model", "shared_heads_model"])
def test_rows_leave_a_captured_step(name: str, request: pytest.FixtureRequest) -> None:
    """Few of the graph's rows, which then stay in it, and more than half of them, for which it is captured anew."""
    compare_with_the_library(request.getfixturevalue(name), CapturedDecoding, "cuda")


def test_a_reward_model_trains_there(tmp_path: Path, chat_model: Path) -> None:
    """In a process of its own, which takes the GPU."""
    rewards = tmp_path / "rewards"
    rewards.mkdir()
    rows = test_train_reward_model.planted_rows(240)
    job = test_train_reward_model.make_job(rewards, chat_model, rows, epochs=6, learning_rate=3e-3, batch_size=16, members=2)
    assert start("train_reward_model", job, tmp_path).wait(300) == 0
    assert json.loads((job.output / "evaluation.json").read_text())["test"]["accuracy"] > 0.95


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_policy_trains_there(precision: str, tmp_path: Path, chat_model: Path) -> None:
    """PPO compares the sampler's log-probabilities with its own in every update."""
    config = learning.ppo_config(updates=4, validation_every=2, precision=precision)
    policy = learning.make_job(tmp_path / "policy", config, learning.write_inputs(tmp_path, chat_model))
    assert start("train_policy", policy, tmp_path).wait(300) == 0
    metrics = [json.loads(line) for line in (policy.output / "metrics.jsonl").read_text().splitlines()]
    assert [row["update"] for row in metrics] == [0, 1, 2, 3, 4]
    assert 0 < metrics[1]["approx_kl"] < 0.05  # on a CPU 0.009 in float32, 0.011 in bfloat16

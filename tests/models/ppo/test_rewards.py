"""Terms of the reward: what each rule and function scores by hand, how they add up, and that a rule alone changes behaviour."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from data_contracts.errors import RecipeError, StageError
from data_contracts.records import POLICY_SAMPLE
from models.checkpoint import Checkpoints
from models.configs import SamplingConfig
from models.own_functions import as_scores
from models.policy_configs import PPOConfig
from models.ppo.rewards.terms import load_rewards
from models.ppo.scoring import Scorer, score_responses
from models.ppo.train_policy import run, train
from models.progress import Progress
from models.reward.reward_model import load_reward_model
from tests.models.conftest import user
from tests.models.learning import ground_of, make_job, ppo_config, write_inputs

TEXTS = ["good lamp", "bad bad table", "", "a b c d e f"]
PROMPTS = [user("how")] * len(TEXTS)
NOWHERE, CPU = Path("none"), torch.device("cpu")
FUNCTIONS = """
import numpy as np
def lengths(prompts, responses):
    return [len(response) for response in responses]
def asked(prompts, responses):
    return np.array([len(messages[-1]["content"]) for messages in prompts])
def too_few(prompts, responses):
    return [0.0]
def not_a_number(prompts, responses):
    return [float("nan")] + [0.0] * (len(responses) - 1)
def none(prompts, responses):
    return [None] * len(responses)
def raises(prompts, responses):
    return {}["quality"]
constant = 3
"""


def scored(*terms: dict[str, Any]) -> Any:
    return score_responses(load_rewards(ppo_config(rewards=terms), NOWHERE, CPU), PROMPTS, TEXTS)


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    (tmp_path / "own_rewards.py").write_text(FUNCTIONS)
    return tmp_path


# By hand.


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ({"kind": "length_cap", "most": 2}, [0, -0.5, 0, -2]),  # words: 2, 3, 0, 6
        ({"kind": "length_cap", "most": 10, "unit": "characters"}, [0, -0.3, 0, -0.1]),  # 9, 13, 0, 11
        ({"kind": "banned", "patterns": ["bad", "a"]}, [-1, -5, 0, -1]),  # two "bad", in each an "a", and one in "table"
        ({"kind": "banned", "patterns": [r"\ba\b"]}, [0, 0, 0, -1]),
        ({"kind": "required", "pattern": r"^\w+ \w+$"}, [0, -1, -1, -1]),
    ],
)
def test_a_rule_by_hand(term: dict[str, Any], expected: list[float]) -> None:
    assert scored(term).score.tolist() == pytest.approx(expected)


def test_terms_add_up_after_clip_and_weight() -> None:
    # By hand: the cap's −2 is cut at −1 and doubled, a required pattern's −1 is a price that is paid back with weight −3.
    found = scored(
        {"kind": "length_cap", "most": 2, "clip": 1.0, "weight": 2.0},
        {"kind": "required", "pattern": "good", "weight": -3.0, "name": "no_praise"},
    )
    assert {name: part.tolist() for name, part in found.terms.items()} == {"length_cap": [0, -1, 0, -2], "no_praise": [0, 3, 3, 3]}
    assert found.score.tolist() == [0, 2, 3, 1]
    assert found.disagreement.tolist() == [0] * 4


def test_the_reward_model_is_the_only_term_by_default(chat_model: Path, tmp_path: Path) -> None:
    model = write_inputs(tmp_path, chat_model)["reward_model"] / "model"
    expected = load_reward_model(model).score(PROMPTS, TEXTS)
    default = score_responses(load_rewards(ppo_config(), model, CPU), PROMPTS, TEXTS)
    assert torch.equal(default.score, expected.score)
    half = ppo_config(rewards=[{"kind": "reward_model", "weight": 0.5}, {"kind": "required", "pattern": "good"}])
    found = score_responses(load_rewards(half, model, CPU), PROMPTS, TEXTS)
    torch.testing.assert_close(found.score, 0.5 * expected.score + torch.tensor([0.0, -1, -1, -1]))


# Functions of one's own.


def function(name: str, folder: Path) -> dict[str, Any]:
    return {"kind": "function", "function": f"own_rewards:{name}", "folder": str(folder)}


def test_a_function_sees_prompts_and_responses(functions: Path) -> None:
    found = scored(function("lengths", functions), function("asked", functions))
    assert found.terms["lengths"].tolist() == [9, 13, 0, 11]
    assert found.terms["asked"].tolist() == [3] * 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("too_few", r"own_rewards:too_few gave a score of shape \(1,\) for 4 responses.*one number for each"),
        ("not_a_number", r"own_rewards:not_a_number gave a score that is not finite for 1 of 4 responses: 'good lamp'"),
        ("none", r"own_rewards:none gave no numbers but \[None, None, None, None\]"),
        ("raises", r"own_rewards:raises could not score responses: KeyError: 'quality'"),
    ],
)
def test_a_function_that_fails_is_named_with_what_came_back(name: str, message: str, functions: Path) -> None:
    with pytest.raises(StageError, match=message):
        scored(function(name, functions))


@pytest.mark.parametrize(("name", "message"), [("absent", "AttributeError"), ("constant", "no function but 3")])
def test_what_is_no_function_is_named(name: str, message: str, functions: Path) -> None:
    with pytest.raises(RecipeError, match=rf"own_rewards:{name}.*{message}"):
        scored(function(name, functions))


def test_any_sort_of_numbers_is_taken() -> None:
    for given in ([1, 2.5], (1, 2.5), np.array([1, 2.5]), torch.tensor([1, 2.5], requires_grad=True)):
        assert as_scores(given, "f").tolist() == [1, 2.5]


# What a recipe may say.


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([], "at least 1"),
        ([{"kind": "banned", "patterns": ["("]}], "not a regular expression"),
        ([{"kind": "function", "function": "own_rewards.lengths"}], "pattern"),
        ([{"kind": "reward_model"}, {"kind": "reward_model"}], "two terms of rewards are called reward_model"),
    ],
)
def test_terms_that_cannot_be_are_refused(terms: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ppo_config(rewards=terms)


# In training.


def test_every_term_is_logged_and_stands_in_the_samples(chat_model: Path, tmp_path: Path) -> None:
    rewards = [{"kind": "reward_model"}, {"kind": "length_cap", "most": 1, "weight": 0.5}]
    job = make_job(tmp_path / "job", ppo_config(rewards=rewards, validation_every=2), write_inputs(tmp_path, chat_model))
    best = run(job)["best_update"]
    rows = [json.loads(line) for line in (job.output / "metrics.jsonl").read_text().splitlines()]
    for row in rows[1:]:
        assert row["term_reward_model"] + row["term_length_cap"] == pytest.approx(row["score"], abs=1e-5)
    table = pq.read_table(job.output / "samples.parquet")
    assert table.schema.equals(POLICY_SAMPLE.schema)
    validated = [row["update"] for row in rows if row.get("validation_judge_score") is not None]
    assert sorted(set(table["at"].to_pylist())) == validated
    assert table.num_rows == 4 * len(validated) > 4
    samples = [row for row in table.to_pylist() if row["kept"]]
    assert [row["at"] for row in samples] == [best] * 4
    for sample in table.to_pylist():
        parts = {part["term"]: part["score"] for part in sample["terms"]}
        assert sum(parts.values()) == pytest.approx(sample["score"], abs=1e-5)
        assert parts["length_cap"] == pytest.approx(-0.5 * max(0, len(sample["response"].split()) - 1))
    kept = next(row for row in rows if row["update"] == best)
    assert np.mean([sample["judge_score"] for sample in samples]) == pytest.approx(kept["validation_judge_score"], abs=1e-5)


@pytest.mark.slow
def test_a_written_rule_alone_shortens_responses(fluent_model: Path, tmp_path: Path) -> None:
    # The base model's sentences have 1 to 8 words. A cap of two words is broken by two thirds of them, until the policy has learned it.
    config = PPOConfig.model_validate(
        {
            "rewards": [{"kind": "length_cap", "most": 2}],
            "sampling": SamplingConfig(max_new_tokens=16),
            "updates": 16,
            "rollout_batch_size": 64,
            "minibatch_size": 32,
            "microbatch_size": 32,
            "epochs": 2,
            "learning_rate": 2e-3,
            "value_learning_rate": 3e-3,
            "value_from": "base_model",
            "validation_prompts": 0,
        }
    )
    cap, broken = load_rewards(config, NOWHERE, CPU), []

    def watched(prompts: Any, responses: Any) -> Any:
        broken.append(float(np.mean([len(text.split()) > 2 for text in responses])))
        return cap(prompts, responses)

    scorer: Scorer = watched
    learner, ground = ground_of(fluent_model, config, scorer, prompts=48)
    train(learner, ground, config, Progress(None), Checkpoints(tmp_path, "identity"))
    assert broken[0] > 0.5
    assert broken[-1] < 0.15

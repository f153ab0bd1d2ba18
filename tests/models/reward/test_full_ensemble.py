"""Ensembles of whole models. Oracles: each member by itself, and the loss of one member by hand."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from data_contracts.errors import InputError
from models.configs import RewardModelConfig
from models.job import Job
from models.language.text import load_tokenizer
from models.ppo.trainees.value_model import load_value_model
from models.reward import member_training
from models.reward.learner import Learner
from models.reward.member_training import new_model
from models.reward.reward_model import FullEnsemble, RewardModel, load_reward_model, new_reward_model
from models.reward.train_reward_model import run
from tests.models.conftest import sentences, user
from tests.models.learning import ppo_config
from tests.models.reward.test_learner import some_model, some_pairs
from tests.models.reward.test_reward_model import random_rows
from tests.models.reward.test_train_reward_model import make_job, planted_rows

TEXTS = [user(text) for text in sentences(6)], sentences(6, seed=1)


def ensemble_of(directory: Path, count: int = 3) -> FullEnsemble:
    torch.manual_seed(0)
    models = [new_reward_model(directory, 64) for _ in range(count)]
    for number, model in enumerate(models):
        with torch.no_grad():
            for parameter in model.backbone.parameters():
                parameter.mul_(1 + 0.1 * number)
    combined = models[0].settings._replace(members=count, combination="uncertainty_weighted", uncertainty_coef=0.5)
    return FullEnsemble(models, combined)


@pytest.mark.parametrize("name", ["chat_model", "bert_model"])
def test_it_scores_as_its_members_do_also_after_saving_and_loading(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    ensemble = ensemble_of(request.getfixturevalue(name))
    ensemble.normalise(ensemble.score_encoded(random_rows(ensemble.members[0], count=20)))
    alone = np.stack([model.score(*TEXTS).score.numpy() for model in ensemble.members], 1)
    scored = ensemble.score(*TEXTS)
    assert scored.score.numpy() == pytest.approx(alone.mean(1) - 0.5 * alone.var(1), abs=1e-5)
    assert scored.disagreement.numpy() == pytest.approx(alone.std(1), abs=1e-5)
    assert float(scored.disagreement.min()) > 0
    ensemble.save(tmp_path / "model")
    loaded = load_reward_model(tmp_path / "model")
    assert isinstance(loaded, FullEnsemble)
    assert loaded.settings == ensemble.settings
    found = loaded.score(*TEXTS)
    assert torch.equal(found.score, scored.score)
    assert torch.equal(found.disagreement, scored.disagreement)


def test_each_member_is_normalised_by_its_own_scores(chat_model: Path) -> None:
    ensemble = ensemble_of(chat_model)
    rows = random_rows(ensemble.members[0], count=40)
    before = ensemble.score_encoded(rows)
    ensemble.normalise(before)
    after = ensemble.score_encoded(rows)
    torch.testing.assert_close(after, (before - before.mean(0)) / before.std(0, correction=0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ensemble.normalised(before.double()).float(), after, atol=1e-5, rtol=1e-5)


def test_a_member_that_is_missing_is_named(chat_model: Path, tmp_path: Path) -> None:
    ensemble_of(chat_model).save(tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "member-2")
    with pytest.raises(InputError, match=r"no reward model can be read.*member-2"):
        load_reward_model(tmp_path / "model")


def test_a_value_model_starts_from_the_first_member(chat_model: Path, tmp_path: Path) -> None:
    ensemble = ensemble_of(chat_model)
    ensemble.save(tmp_path / "model")
    tokenizer = load_tokenizer(chat_model)
    value = load_value_model(ppo_config(value_from="reward_model"), tmp_path / "model", chat_model, tokenizer, torch.device("cpu"))
    hidden = torch.randn(2, 3, value.backbone.config.hidden_size)
    torch.testing.assert_close(value.scalar(hidden), ensemble.members[0].member_scores(hidden)[..., 0])


def test_a_member_weights_prompts_as_it_drew_them(chat_model: Path) -> None:
    model = some_model(chat_model)
    pairs, differences = some_pairs(model, 4), torch.tensor([[0.3], [-1.0], [2.0], [0.1]], dtype=torch.float64)
    losses = [
        Learner(model, RewardModelConfig(), [pair]).training_loss([pair], d[None]).item()
        for pair, d in zip(pairs, differences, strict=True)
    ]
    learner = Learner(model, RewardModelConfig(), pairs, {"p0": [2.0], "p1": [3.0]})
    assert learner.training_loss(pairs, differences).item() == pytest.approx(2 * (losses[0] + losses[1]) + 3 * (losses[2] + losses[3]))


@pytest.mark.parametrize("tuned", [{}, {"lora": {"rank": 4}}])
def test_models_of_their_own_learn_apart_and_are_stored_as_one(
    tuned: dict[str, Any], chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[torch.Tensor] = []

    def watched(job: Job[RewardModelConfig]) -> RewardModel:
        model = new_model(job)
        starts.append(model.head.weight.detach().clone())
        return model

    monkeypatch.setattr(member_training, "new_model", watched)
    rows = planted_rows(240)
    settings = {"members": 2, "ensemble": "models", "likelihood": "davidson", "epochs": 4, "learning_rate": 3e-3, "batch_size": 16}
    job = make_job(tmp_path, chat_model, rows, **settings, **tuned)
    headline = run(job)
    assert headline["accuracy"] > 0.9  # type: ignore[operator]
    assert not torch.equal(*starts)
    model = load_reward_model(job.output / "model")
    assert isinstance(model, FullEnsemble)
    weights = [next(m.parameters() for m in one.backbone.modules() if isinstance(m, torch.nn.Linear)) for one in model.members]
    assert not torch.equal(*(next(iter(weight)) for weight in weights))
    tested = [row for row in rows if row["split"] == "test"]
    chosen, rejected = (model.score([row["prompt"] for row in tested], [row[side] for row in tested]) for side in ("chosen", "rejected"))  # type: ignore[misc]
    assert headline["accuracy"] == pytest.approx(float((chosen.score > rejected.score).double().mean()))
    assert float(chosen.disagreement.min()) > 0
    metrics = [json.loads(line) for line in (job.output / "metrics.jsonl").read_text().splitlines()]
    ties = {row["member"]: row["tie_parameter"][0] for row in metrics if "epoch" in row}
    assert set(ties) == {0, 1}
    assert ties[0] != ties[1]
    assert not (job.work / "member-0" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"members": 1}, "members of 2 or more"), ({"members": 2, "freeze_backbone": True}, "take ensemble = 'heads'")],
)
def test_models_of_their_own_need_something_to_differ_in(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RewardModelConfig(ensemble="models", **settings)

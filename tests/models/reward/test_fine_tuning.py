"""What of the backbone learns. Oracles: LoRA's definition W + alpha/rank · B·A, gradients without checkpointing, the base's own weights."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from data_contracts.errors import InputError, RecipeError
from models.configs import RewardModelConfig
from models.reward import training_loop
from models.reward.fine_tuning import FineTuning
from models.reward.learner import Learner, accumulate_gradients
from models.reward.preference_data import in_groups
from models.reward.reward_model import RewardModel, load_reward_model, new_reward_model
from models.reward.train_reward_model import run
from tests.models.conftest import sentences, user
from tests.models.reward.test_learner import some_model, some_pairs
from tests.models.reward.test_reward_model import BACKBONES
from tests.models.reward.test_train_reward_model import make_job, planted_rows

LORA: dict[str, Any] = {"lora": {"rank": 3, "alpha": 7.5}}
TEXTS = [user(text) for text in sentences(6)], sentences(6, seed=1)


def with_lora(directory: Path) -> tuple[RewardModel, FineTuning]:
    torch.manual_seed(5)
    model = new_reward_model(directory, 64)
    return model, FineTuning(model, RewardModelConfig(**LORA))


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", BACKBONES)
def test_lora_adds_the_product_of_its_matrices_to_every_linear_layer(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    directory = request.getfixturevalue(name)
    model, fine_tuning = with_lora(directory)
    base = new_reward_model(directory, 64)
    base.head.load_state_dict(model.head.state_dict())
    assert torch.equal(model.score(*TEXTS).score, base.score(*TEXTS).score)  # the second matrices are 0 at first
    learns = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all("lora_" in name or name.startswith("head.") for name in learns)
    matrices: dict[str, dict[str, Tensor]] = {}
    for own, parameter in model.backbone.named_parameters():
        if "lora_" in own:
            nn.init.normal_(parameter, std=0.1)
            layer, _, which = own.removesuffix(".default.weight").rpartition(".")
            matrices.setdefault(layer, {})[which] = parameter.detach().clone()
    adapted = model.score(*TEXTS).score
    fine_tuning.merge()
    merged = dict(model.backbone.named_modules())
    linear = {n for n, layer in base.backbone.named_modules() if isinstance(layer, (nn.Linear, Conv1D)) and not n.startswith("pooler.")}
    assert set(matrices) == linear
    for layer, before in base.backbone.named_modules():
        if layer in matrices:
            change = matrices[layer]["lora_B"] @ matrices[layer]["lora_A"] * 7.5 / 3
            expected = before.weight + (change.T if isinstance(before, Conv1D) else change)
            torch.testing.assert_close(merged[layer].weight, expected)
    torch.testing.assert_close(model.score(*TEXTS).score, adapted, atol=1e-4, rtol=1e-4)
    model.save(tmp_path / "model")
    loaded = load_reward_model(tmp_path / "model")
    assert torch.equal(loaded.score(*TEXTS).score, model.score(*TEXTS).score)
    assert set(weights_of(loaded)) == set(weights_of(base))  # an ordinary backbone, for which nobody needs peft


@pytest.mark.parametrize("settings", [LORA, {"freeze_backbone": True}, {}, {"precision": "bfloat16"}])
def test_what_does_not_learn_stays_as_it_was(settings: dict[str, Any], chat_model: Path, tmp_path: Path) -> None:
    rate = 0.3 if "freeze_backbone" in settings else 3e-3
    job = make_job(tmp_path, chat_model, planted_rows(240), epochs=4, learning_rate=rate, batch_size=16, **settings)
    headline = run(job)
    trained, base = load_reward_model(job.output / "model"), new_reward_model(chat_model, 64)
    changed = {name for name, weight in weights_of(trained.backbone).items() if not torch.equal(weight, weights_of(base.backbone)[name])}
    linear = {f"{name}.weight" for name, layer in base.backbone.named_modules() if isinstance(layer, nn.Linear)}
    everything = set(weights_of(base.backbone))
    assert changed == (set() if "freeze_backbone" in settings else linear if "lora" in settings else everything)
    assert headline["accuracy"] > (0.6 if "freeze_backbone" in settings else 0.9)  # type: ignore[operator]
    good, bad = trained.score([user("clean my lamp")] * 2, ["wipe it good", "wipe it bad"]).score
    assert good > bad


@pytest.mark.parametrize("settings", [LORA, {}])
@pytest.mark.parametrize("name", BACKBONES)
def test_gradient_checkpointing_keeps_less_and_gives_the_same_gradient(
    settings: dict[str, Any], name: str, request: pytest.FixtureRequest
) -> None:
    found = []
    for checkpointing in (False, True):
        model = some_model(request.getfixturevalue(name))
        config = RewardModelConfig(gradient_checkpointing=checkpointing, **settings)
        torch.manual_seed(1)
        FineTuning(model, config)
        model.double()
        pairs = some_pairs(model)
        learner, kept = Learner(model, config, pairs).double().train(), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: (kept.append(t.numel()), t)[1], lambda t: t):  # type: ignore[misc]
            accumulate_gradients(learner, Accelerator(), in_groups(pairs), 100_000)
        gradient = torch.cat([p.grad.flatten() for p in learner.parameters() if p.grad is not None])
        found.append((gradient, sum(kept)))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-12, rtol=1e-9)
    assert found[1][1] < found[0][1] / 2


@pytest.mark.parametrize("name", BACKBONES)
def test_bfloat16_is_for_learning_alone(name: str, request: pytest.FixtureRequest) -> None:
    """Gradients have bfloat16's 8 bits (2^-8 is 0.4 %) and scores are those of float32, to the bit."""
    found: list[tuple[Tensor, Tensor]] = []
    for precision in ("float32", "bfloat16"):
        model = some_model(request.getfixturevalue(name)).float()
        config = RewardModelConfig(precision=precision)
        FineTuning(model, config)
        pairs = some_pairs(model)
        learner = Learner(model, config, pairs).train()
        accumulate_gradients(learner, Accelerator(), in_groups(pairs), 100_000)
        gradients = [parameter.grad for parameter in learner.parameters() if parameter.grad is not None]
        assert {gradient.dtype for gradient in gradients} == {torch.float32}
        found.append((torch.cat([gradient.flatten() for gradient in gradients]), model.score(*TEXTS).score))
    (exact, score), (rounded, score_too) = found
    assert torch.equal(score, score_too)
    assert 1e-4 < float((rounded - exact).norm() / exact.norm()) < 0.05


def test_a_job_checkpoints_gradients_at_every_step(chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers does it in training mode only, and a model that was loaded is not in it."""
    seen: list[bool] = []

    def watched(learner: Learner, *arguments: Any) -> dict[str, float]:
        seen.append(all(module.training for module in learner.modules()))
        return accumulate_gradients(learner, *arguments)

    monkeypatch.setattr(training_loop, "accumulate_gradients", watched)
    run(make_job(tmp_path, chat_model, planted_rows(60), gradient_checkpointing=True))
    assert seen
    assert all(seen)


def test_lora_without_its_package_says_what_to_install(chat_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(RecipeError, match=r"needs the package peft.*pip install 'peft"):
        with_lora(chat_model)


def test_a_backbone_without_linear_layers_cannot_have_lora(chat_model: Path) -> None:
    model = new_reward_model(chat_model, 64)
    model.backbone = nn.Embedding(3, 3)
    with pytest.raises(InputError, match=r"no linear layers.*leave lora out"):
        FineTuning(model, RewardModelConfig(**LORA))


@pytest.mark.parametrize("settings", [LORA, {"gradient_checkpointing": True}])
def test_a_frozen_backbone_has_nothing_to_learn_by(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="nothing of the backbone learns"):
        RewardModelConfig(freeze_backbone=True, **settings)

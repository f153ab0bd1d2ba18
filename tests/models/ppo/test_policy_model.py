"""A policy that learns by LoRA, and a value head on its trunk: the reference stays, gradients add up, and plain weights are saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from models.checkpoint import Checkpoints
from models.language.language_model import load_language_model, response_batch
from models.language.llama.weights import FusedLlama
from models.ppo.ground import Ground
from models.ppo.ppo_update import learn, make_lesson
from models.ppo.rollout import Rollout, collect_rollout
from models.ppo.train_policy import run, train
from models.ppo.trainees.learner import Learner
from models.ppo.trainees.policy_model import load_policy
from models.progress import Progress
from models.randomness import derive_seed
from tests.models.learning import ground_of, length_score, make_job, ppo_config, response_logits, write_inputs

LORA: dict[str, Any] = {"lora": {"rank": 3, "alpha": 6.0}, "learning_rate": 1e-2}
SHARED: dict[str, Any] = {"value": "shared"}


def logits(model: Any, ground: Ground) -> Tensor:
    responses = [[5, 6, 7]] * len(ground.prompts.ids)
    with torch.no_grad():
        return response_logits(model, response_batch(ground.prompts.ids, responses, 0), 1.0)


def rolled_out(model: Path, **changes: Any) -> tuple[Learner, Ground, Rollout]:
    config = ppo_config(minibatch_size=8, microbatch_size=8, **changes)
    learner, ground = ground_of(model, config, length_score, prompts=8)
    rollout = collect_rollout(ground.actors, length_score, ground.prompts, config.sampling, seeds=list(range(8)), microbatch_size=8)
    return learner, ground, rollout


@pytest.mark.parametrize("name", ["chat_model", "gpt2_model"])
def test_the_reference_of_lora_is_the_base_model_bit_for_bit(name: str, request: pytest.FixtureRequest) -> None:
    directory = request.getfixturevalue(name)
    learner, ground, rollout = rolled_out(directory, **LORA)
    base = logits(learner.policy.model, ground)  # the second matrices begin as 0
    torch.testing.assert_close(base, logits(load_language_model(directory), ground), rtol=1e-5, atol=1e-5)
    config = ppo_config(minibatch_size=8, microbatch_size=8, **LORA)
    learn(learner, rollout, make_lesson(rollout, config, 0.1), config, 0)
    assert not torch.allclose(logits(learner.policy.model, ground), base, atol=1e-3)
    assert torch.equal(logits(ground.actors.reference, ground), base)
    assert all(p.requires_grad == ("lora_" in part) for part, p in learner.policy.model.named_parameters())


def test_sampling_by_fused_weights_sees_what_lora_has_learned(chat_model: Path) -> None:
    # `collect_rollout` itself compares the sampler's logprobs with those of the forward pass, in which peft adds the matrices.
    config = ppo_config(**LORA)
    learner, ground = ground_of(chat_model, config, length_score, prompts=8)
    with torch.no_grad():
        for part, weight in learner.policy.model.named_parameters():
            if "lora_B" in part:
                weight.normal_(std=0.3)
    assert FusedLlama.of(learner.policy.model, with_adapters=True) is not None
    rollout = collect_rollout(ground.actors, length_score, ground.prompts, config.sampling, seeds=list(range(8)), microbatch_size=8)
    assert (rollout.logprobs - rollout.ref_logprobs).abs().max() > 0.1


def test_what_lora_learned_is_saved_as_plain_weights(chat_model: Path, tmp_path: Path) -> None:
    config = ppo_config(validation_prompts=0, updates=1, **LORA, **SHARED)
    inputs = write_inputs(tmp_path, chat_model)
    job = make_job(tmp_path / "job", config, inputs)
    run(job)
    files = {path.name for path in (job.output / "model").iterdir()}
    assert not any("adapter" in name for name in files)
    before, after = load_file(chat_model / "model.safetensors"), load_file(job.output / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj" in name}
    saved = AutoModelForCausalLM.from_pretrained(job.output / "model")
    learner, ground = ground_of(chat_model, config, length_score, prompts=12)
    policy = load_policy(config, chat_model, torch.device("cpu"), chat_model)
    with torch.no_grad():  # oracle: W + alpha / rank · B·A, as peft adds it, of the very first update's matrices is what was saved
        assert not torch.allclose(logits(saved, ground), logits(policy.model, ground), atol=1e-3)
    torch.testing.assert_close(logits(policy.merged(), ground), logits(learner.policy.model, ground), rtol=1e-5, atol=1e-5)


def test_a_value_head_reads_the_policys_last_hidden_states(chat_model: Path, gpt2_model: Path) -> None:
    for directory in (chat_model, gpt2_model):
        config = ppo_config(**SHARED)
        learner, ground = ground_of(directory, config, length_score, prompts=1)
        head = learner.policy.head
        assert head is not None
        torch.nn.init.normal_(head.linear.weight, generator=torch.Generator().manual_seed(3))
        rollout = collect_rollout(ground.actors, length_score, ground.prompts, config.sampling, seeds=[0], microbatch_size=1)
        (prompt,), (response,) = rollout.prompts, rollout.responses
        with torch.no_grad():
            states = learner.policy.model(torch.tensor([prompt + response]), output_hidden_states=True).hidden_states[-1]
        expected = (states @ head.linear.weight.T)[:, len(prompt) - 1 : -1, 0]
        assert rollout.values is not None
        torch.testing.assert_close(rollout.values, expected, atol=1e-5, rtol=1e-5)


def test_on_a_shared_trunk_the_value_loss_has_its_weight(chat_model: Path) -> None:
    # Gradients are linear in the coefficient: that of 0.3 stands three tenths of the way from that of 0 to that of 1.
    def gradient(vf_coef: float) -> Tensor:
        config = ppo_config(minibatch_size=8, microbatch_size=8, epochs=1, vf_coef=vf_coef, max_grad_norm=1e9, **SHARED)
        learner, _, rollout = rolled_out(chat_model, vf_coef=vf_coef, **SHARED)
        assert learner.policy.head is not None
        torch.nn.init.normal_(learner.policy.head.linear.weight, generator=torch.Generator().manual_seed(3))
        kept: list[Tensor] = []
        step = learner.policy.guard.step

        def watch(parameters: Any, optimizer: Any) -> float:
            kept.append(torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]))
            return step(parameters, optimizer)

        object.__setattr__(learner.policy.guard, "step", watch)
        learn(learner, rollout, make_lesson(rollout, config, 0.1), config, 0)
        return kept[0]

    none, some, whole = (gradient(coefficient) for coefficient in (0.0, 0.3, 1.0))
    assert (whole - none).abs().max() > 1e-2
    torch.testing.assert_close(some, none + 0.3 * (whole - none), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("value", ["separate", "shared"])
def test_in_a_warm_up_only_values_learn(value: str, chat_model: Path, tmp_path: Path) -> None:
    config = ppo_config(value=value, value_warmup=2, kl_coef=0.5, validation_prompts=0, learning_rate=1e-2, epochs=1)
    learner, ground = ground_of(chat_model, config, length_score)
    base, seen, forecasts = dict(load_language_model(chat_model).named_parameters()), [], []
    head = learner.policy.head if learner.value is None else learner.value.model.head

    def watch(prompts: Any, responses: Any) -> Any:  # called once in each update, before it learns
        seen.append(all(torch.equal(base[name], weight) for name, weight in learner.policy.model.named_parameters()))
        forecasts.append(any(bool(weight.any()) for weight in head.parameters()))
        return length_score(prompts, responses)

    standing = train(learner, Ground(**{**vars(ground), "scorer": watch}), config, Progress(None), Checkpoints(tmp_path, "identity"))
    moved = not all(torch.equal(base[name], weight) for name, weight in learner.policy.model.named_parameters())
    assert [*seen, not moved] == [True, True, True, False]
    assert forecasts == [False, True, True]  # what forecasts values starts with a head of zeros
    assert [row["kl_coef"] for row in standing.metrics[1:]] == [0.5] * 3  # the price moves after the third for the first time
    assert standing.kl.kl_coef != 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "rloo", "samples_per_prompt": 2, "value": "shared"}, "has no values"),
        ({"method": "reinforce", "value_warmup": 1}, "has no values"),
        ({"value_warmup": 3}, "less than updates"),
    ],
)
def test_values_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ppo_config(**changes)


def test_the_matrices_follow_the_seed(chat_model: Path) -> None:
    assert derive_seed(0, "policy", "lora") != derive_seed(1, "policy", "lora")
    first, again, other = (load_policy(ppo_config(seed=seed, **LORA), chat_model, torch.device("cpu"), chat_model) for seed in (0, 0, 1))

    def matrix(policy: Any) -> Tensor:
        return next(weight for name, weight in policy.model.named_parameters() if "lora_A" in name)

    assert torch.equal(matrix(first), matrix(again))
    assert not torch.equal(matrix(first), matrix(other))

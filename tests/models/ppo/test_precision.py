"""PPO in bfloat16. Oracle: the same in float32, from which bfloat16's 8 bits (2^-8 is 0.4 %) are told apart and not far away."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from data_contracts.errors import StageError
from models.language.language_model import load_language_model, response_batch, response_logprobs
from models.policy_configs import PPOConfig
from models.ppo.ppo_update import _losses, make_lesson
from models.ppo.rollout import Rollout, _check_logprobs, collect_rollout
from models.ppo.train_policy import run
from tests.models.learning import ground_of, length_score, make_job, ppo_config, write_inputs

BATCH = 8
LORA: dict[str, Any] = {"lora": {"rank": 3}}
GROUPS: dict[str, Any] = {"method": "grpo", "samples_per_prompt": 4}


def rollout_and_gradients(model: Path, config: PPOConfig, rollout: Rollout | None = None) -> tuple[Rollout, list[Tensor]]:
    """What the models say of a rollout, the given one or their own, and the gradients of policy and value model in its first step."""
    learner, ground = ground_of(model, config, length_score, prompts=BATCH)
    own = collect_rollout(ground.actors, length_score, ground.prompts, config.sampling, seeds=list(range(BATCH)), microbatch_size=BATCH)
    lesson = make_lesson(rollout or own, config, 0.1)
    of_policy, of_value = _losses(learner, rollout or own, lesson, config, list(range(BATCH)), 64)
    (of_policy.loss + (of_value.loss if of_value else 0)).backward()
    gradients = [torch.cat([p.grad.flatten() for p in t.parameters if p.grad is not None]) for t in learner.trainees.values()]
    return own, gradients


@pytest.mark.parametrize("settings", [{}, LORA, {"value": "shared"}, {**LORA, "value": "shared"}, GROUPS], ids=str)
@pytest.mark.parametrize("name", ["chat_model", "gpt2_model"])
def test_gradients_have_the_bits_of_bfloat16_and_are_kept_in_float32(
    name: str, settings: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    model, config = request.getfixturevalue(name), {"minibatch_size": BATCH, "microbatch_size": BATCH, **settings}
    rollout, exact = rollout_and_gradients(model, ppo_config(**config))
    _, rounded = rollout_and_gradients(model, ppo_config(**config, precision="bfloat16"), rollout)
    for one, other in zip(exact, rounded, strict=True):
        assert other.dtype == torch.float32
        assert 1e-4 < float((one - other).norm() / one.norm()) < 0.1  # with the library's layers under autocast it is 0.065


@pytest.mark.parametrize("name", ["chat_model", "gpt2_model"])
def test_what_is_said_of_responses_is_rounded_and_their_scores_are_not(name: str, request: pytest.FixtureRequest) -> None:
    rollout, _ = rollout_and_gradients(request.getfixturevalue(name), ppo_config(precision="bfloat16"))
    assert rollout.logprobs.dtype == torch.float32
    assert rollout.scores.tolist() == [len(text) for text in rollout.text]
    torch.testing.assert_close(rollout.logprobs, rollout.ref_logprobs)  # the same weights, the same path
    found, exact = (r.logprobs[r.response_mask] for r in (rollout, in_float32(request.getfixturevalue(name), rollout)))
    assert 1e-5 < float((found - exact).abs().mean()) < 0.05


def in_float32(model: Path, rollout: Rollout) -> Rollout:
    """The same responses' logprobs by a forward pass in float32."""
    batch = response_batch(rollout.prompts, rollout.responses, 0)
    return rollout._replace(logprobs=response_logprobs(load_language_model(model).eval(), batch, 1.0).detach())


def test_a_sampler_that_sees_another_model_is_found_out_in_bfloat16_too(chat_model: Path) -> None:
    rollout, _ = rollout_and_gradients(chat_model, ppo_config(precision="bfloat16"))
    seen = [row[mask].tolist() for row, mask in zip(rollout.logprobs, rollout.response_mask, strict=True)]
    _check_logprobs(rollout, [[value + 0.01 for value in row] for row in seen], "bfloat16")
    with pytest.raises(StageError, match=r"logprobs differ.*by 0\.1 on average.*"):
        _check_logprobs(rollout, [[value + 0.1 for value in row] for row in seen], "bfloat16")


@pytest.mark.parametrize("settings", [{}, {**LORA, "value": "shared", "value_warmup": 1}, GROUPS], ids=str)
def test_a_job_trains_in_bfloat16(settings: dict[str, Any], chat_model: Path, tmp_path: Path) -> None:
    headline = run(make_job(tmp_path / "job", ppo_config(precision="bfloat16", **settings), write_inputs(tmp_path, chat_model)))
    assert headline["updates"] == 3

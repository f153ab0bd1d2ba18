"""The memory estimate against what is there: tensors are counted, and what autograd keeps is asked of autograd."""

from pathlib import Path
from typing import Any

import pytest
import torch

from data_contracts.errors import StageError
from models.language.decoding import Decoding
from models.language.llama.decoding import LlamaDecoding
from models.language.llama.weights import FusedLlama
from models.language.text import pad_left
from models.ppo import train_policy
from models.ppo.memory import Estimate, estimate, quoted_when_short
from models.ppo.ppo_update import learn, make_lesson
from models.ppo.rollout import collect_rollout
from models.precision import computing_in
from tests.models.learning import ground_of, length_score, make_job, ppo_config, write_inputs

CPU = torch.device("cpu")


@pytest.mark.parametrize("changes", [{}, {"value": "shared"}, {"value": "shared", "lora": {"rank": 4}}])
def test_weights_gradients_and_optimizers_are_counted(changes: dict[str, Any], chat_model: Path) -> None:
    config = ppo_config(minibatch_size=8, microbatch_size=8, epochs=1, **changes)
    learner, ground = ground_of(chat_model, config, length_score, prompts=8)
    found = estimate(learner, ground, config)
    rollout = collect_rollout(ground.actors, length_score, ground.prompts, config.sampling, seeds=list(range(8)), microbatch_size=8)
    learn(learner, rollout, make_lesson(rollout, config, 0.1), config, 0)
    state = [t for trainee in learner.trainees.values() for values in trainee.optimizer.state.values() for t in values.values()]
    assert found.optimizers == 4 * sum(tensor.numel() for tensor in state if tensor.ndim)  # steps are counted in scalars
    assert found.gradients == found.optimizers // 2
    held = {"policy", "value"} if "lora" in changes else {"policy", "value", "reference"}
    assert set(found.weights) == held
    assert found.weights["policy"] == 4 * sum(p.numel() for p in learner.policy.model.parameters())


def test_activations_are_about_what_autograd_keeps(chat_model: Path, gpt2_model: Path) -> None:
    from models.ppo.ppo_update import _losses

    for directory in (chat_model, gpt2_model):
        config = ppo_config(minibatch_size=8, microbatch_size=8)
        learner, ground = ground_of(directory, config, length_score, prompts=8)
        rollout = collect_rollout(ground.actors, length_score, ground.prompts, config.sampling, seeds=list(range(8)), microbatch_size=8)
        weights = {p.untyped_storage().data_ptr() for t in learner.trainees.values() for p in t.parameters}
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor, kept: dict[int, int] = kept, weights: set[int] = weights) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            losses = _losses(learner, rollout, make_lesson(rollout, config, 0.1), config, list(range(8)), 64)
        assert losses[1] is not None
        found = estimate(learner, ground, config).activations
        assert 0.5 < found / sum(kept.values()) < 2.0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_cache_and_the_copies_are_what_decoding_holds(precision: str, chat_model: Path) -> None:
    config = ppo_config(rollout_batch_size=8, precision=precision)
    learner, ground = ground_of(chat_model, config, length_score, prompts=8)
    model, prompts, room = learner.policy.model, pad_left(ground.prompts.ids, 0), config.sampling.max_new_tokens
    weights, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with computing_in(config.precision, CPU), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        llama = FusedLlama.of(model)
    assert llama is not None
    for_derivatives = sum(size for place, size in kept.items() if place not in weights)
    assert for_derivatives
    norms = sum(p.numel() for p in model.model.layers.parameters() if p.ndim == 1)  # they become part of the matrices behind them
    bytes_each = 4 if precision == "float32" else 2
    copied = sum(part.nbytes for layer in llama.layers for part in layer)
    of_each = copied + bytes_each * norms + for_derivatives
    assert estimate(learner, ground, config).copies == 2 * of_each  # the policy's and the value model's
    held = sum(part.nbytes for layer in LlamaDecoding(llama, model.lm_head.weight, prompts, room)._cache for part in layer)
    assert estimate(learner, ground, config).cache == held


def test_the_cache_is_what_decoding_by_the_library_holds(chat_model: Path) -> None:
    config = ppo_config(rollout_batch_size=8)
    learner, ground = ground_of(chat_model, config, length_score, prompts=8)
    decoding = Decoding(learner.policy.model, pad_left(ground.prompts.ids, 0), config.sampling.max_new_tokens)
    with torch.inference_mode():
        decoding.start()
    held = sum(layer._all_keys.nbytes + layer._all_values.nbytes for layer in decoding._cache.layers)
    assert estimate(learner, ground, config).cache == held


def test_memory_that_runs_out_is_told_with_the_estimate(chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(*_: Any) -> Any:
        return torch.empty(1 << 50)

    monkeypatch.setattr(train_policy, "learn", too_much)
    job = make_job(tmp_path / "job", ppo_config(updates=1, validation_prompts=0), write_inputs(tmp_path, chat_model))
    with pytest.raises(StageError, match=r"(?s)out of memory: .*memory: about .* GiB .*reward_model.*lower policy.microbatch_size"):
        train_policy.run(job)
    assert "memory: about" in (tmp_path / "job" / "progress.jsonl").read_text()


def test_other_errors_pass(chat_model: Path) -> None:
    with pytest.raises(RuntimeError, match="something else"), quoted_when_short(Estimate({}, 0, 0, 0, 0, 0), CPU):
        raise RuntimeError("something else")

"""Models divided among processes, on the CPU by gloo. Oracle: one process that holds and does everything."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from models.checkpoint import Checkpoints
from models.language.language_model import load_language_model
from models.language.pretrain import language_model_loss
from models.optimization import StepGuard, adamw, set_learning_rate
from models.processes import own_share, sum_gradients
from models.reward.reward_model import new_reward_model
from models.sharding import gathered, held, shard, whole, whole_weights
from tasks.learning.worker import launch, running

TOLERANCE = 1e-4
"""Of what three steps in float32 come to: gradients are summed in another order."""
TEXTS = [[5, 9, 13, 7, 21], [8, 3, 30, 14, 2], [40, 41, 42, 43, 44], [6, 6, 7, 7, 8]]


def learn(directory: Path, work: Path) -> dict[str, Any]:
    """Three steps of a language model, of which the third is done twice, the second time from a checkpoint."""
    accelerator, model = Accelerator(), load_language_model(directory)
    torch.manual_seed(0)
    reward_model = new_reward_model(directory, 64).eval()
    if accelerator.num_processes > 1:
        for each in (model, reward_model):
            shard(each, accelerator.device)
    optimizer, guard, norms = adamw(model, weight_decay=0.1), StepGuard(0.5), []
    parts, checkpoints = {"model": model, "optimizer": optimizer}, Checkpoints(work, "id")

    def step() -> None:
        set_learning_rate(optimizer, 1e-2)
        for text in own_share(TEXTS, accelerator):
            accelerator.backward(language_model_loss(model, [text], 0) / len(TEXTS))
        sum_gradients(model.parameters(), accelerator)
        norms.append(guard.step(model.parameters(), optimizer))

    def weights() -> dict[str, list[float]]:
        return {name: tensor.flatten().tolist() for name, tensor in whole_weights(model, keep=True).items()}

    step()
    with gathered(model, reward_model), torch.inference_mode():  # each process makes another number of passes
        for _ in range(accelerator.process_index + 1):
            said = float(language_model_loss(model, TEXTS, 0))
            scores = reward_model.score_tokens(TEXTS)
        assert not any(type(parameter).__name__ == "DTensor" for parameter in model.parameters())
    step()
    checkpoints.save(2, parts, {})
    accelerator.wait_for_everyone()
    step()
    after = weights()
    assert checkpoints.restore(parts) == (2, {})
    step()
    assert weights() == after
    shares = {name: held(parameter) for name, parameter in model.named_parameters()}
    return {"norms": norms, "said": said, "scores": scores.flatten().tolist(), "weights": after, "shares": shares}


@pytest.mark.slow
def test_a_divided_model_learns_and_says_what_a_whole_one_does(chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [*launch("tests.models.sharding_rank", 2), str(chat_model), str(tmp_path)]
    with (tmp_path / "log").open("ab") as log, running(command, log.fileno(), tmp_path) as process:
        assert process.wait() == 0, (tmp_path / "log").read_text()
    alone = learn(chat_model, tmp_path / "alone")
    ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]
    for found in ranks:
        for name in ("norms", "said", "scores"):
            assert found[name] == pytest.approx(alone[name], abs=TOLERANCE)
        for name, weight in alone["weights"].items():
            assert found["weights"][name] == pytest.approx(weight, abs=TOLERANCE)
    for name, numbers in alone["shares"].items():
        shares = [rank["shares"][name] for rank in ranks]
        assert sum(shares) == numbers
        assert max(shares) < 0.51 * numbers


def test_what_is_not_divided_is_left_as_it_is(chat_model: Path) -> None:
    model = load_language_model(chat_model)
    before = model.model.norm.weight
    with gathered(model, None):
        assert model.model.norm.weight is before
    assert whole(before) is before
    assert held(before) == before.numel()
    assert "lm_head.weight" not in whole_weights(model, keep=True)  # tied to the embeddings
    assert whole_weights(model, keep=False) == {}

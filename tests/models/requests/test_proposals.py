"""What a judgment would tell, by hand; and the job on small models."""

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data_contracts.manifest import list_files
from data_contracts.records import PROPOSED_PAIR
from models.configs import ProposalConfig
from models.requests.information import information
from models.requests.propose_pairs import run
from models.reward.reward_model import load_reward_model, new_reward_model
from tests.models.learning import SAMPLING, make_job, write_inputs

CONFIG = ProposalConfig(sampling=SAMPLING)


def log_odds(*probabilities: float) -> list[float]:
    return [math.log(p / (1 - p)) for p in probabilities]


def test_information_by_hand() -> None:
    """Members sure of opposite sides (0.9 and 0.1): the mean is a coin, 1 bit, less the entropy of 0.9, 0.469. Both in doubt: nothing."""
    told = information(np.array([log_odds(0.9, 0.1), log_odds(0.5, 0.5), log_odds(0.8, 0.8), log_odds(1 - 1e-12, 1e-12)]))
    assert told == pytest.approx([1 - 0.468996, 0, 0, 1], abs=1e-6)
    assert information(np.array([log_odds(0.5), log_odds(0.9), [800.0]]).reshape(3, 1)) == pytest.approx([1, 0.468996, 0], abs=1e-6)


@pytest.mark.parametrize("with_champion", [False, True])
def test_the_job_pairs_what_two_models_say(chat_model: Path, tmp_path: Path, with_champion: bool) -> None:
    inputs = write_inputs(tmp_path, chat_model, prompts=20)
    torch.manual_seed(3)
    new_reward_model(chat_model, 64, members=3).save(inputs["reward_model"] / "model")
    champion = {"champion": chat_model.parent} if with_champion else {}
    job = make_job(tmp_path / "job", CONFIG, inputs | champion)
    headline = run(job)
    rows = pq.read_table(job.output / "pairs.parquet").to_pylist()
    PROPOSED_PAIR.table(rows)
    assert (headline["prompts"], headline["members"]) == (12, 3), "the train split's"
    assert headline["pairs"] == len(rows) > 0
    assert all(row["response_a"] != row["response_b"] for row in rows)
    assert {(row["model_a"], row["model_b"]) for row in rows} == {("champion" if with_champion else "base_model", "base_model")}
    model = load_reward_model(inputs["reward_model"] / "model")
    scores = [model.score_encoded([model.encode(row["prompt"], row[side]).ids for row in rows]) for side in ("response_a", "response_b")]
    assert [row["information"] for row in rows] == pytest.approx(information((scores[0] - scores[1]).double().numpy()).tolist(), abs=1e-6)
    again = make_job(tmp_path / "again", CONFIG, inputs | champion)
    run(again)
    assert list_files(job.output) == list_files(again.output)


def test_as_many_prompts_as_asked_for_drawn_by_the_seed(chat_model: Path, tmp_path: Path) -> None:
    inputs, drawn = write_inputs(tmp_path, chat_model, prompts=40), []
    for seed in (0, 1):
        job = make_job(tmp_path / f"job-{seed}", CONFIG.model_copy(update={"max_prompts": 6, "seed": seed}), inputs)
        assert run(job)["prompts"] == 6
        drawn.append([row["prompt_id"] for row in pq.read_table(job.output / "pairs.parquet").to_pylist()])
    assert drawn[0] != drawn[1]

"""What the simulated world tells of a training: the true reward of its validation samples, by hand."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from data_contracts.manifest import Identity
from data_contracts.records import POLICY_SAMPLE, TRUE_CURVE
from tasks.simulation.true_reward import true_reward
from tasks.simulation.truth import training_curve

PROMPT = "how do i sell my old lamp ?"


def policy(home: Home, rows: list[dict[str, Any]] | None) -> Artifact:
    def write(directory: Path) -> dict[str, int]:
        (directory / "metrics.jsonl").touch()
        if rows is not None:
            pq.write_table(POLICY_SAMPLE.table(rows), directory / "samples.parquet")
        return {}

    return home.artifacts.make(Identity(kind="policy", code_version="1"), write).artifact


def sample(at: int, name: str, response: str, *, score: float | None, kl: float) -> dict[str, Any]:
    about = {"at": at, "kept": at == 1, "prompt_id": name, "slice": "all", "prompt": [{"role": "user", "content": PROMPT}]}
    worth = {"score": score, "terms": [], "disagreement": None, "judge_score": 2.0 * at, "kl_k1": kl}
    return about | {"response": response, "n_tokens": 3, "ended": True} | worth


@pytest.mark.parametrize("scores", [(1.0, 3.0), (None, None)])
def test_the_curve_has_the_means_of_every_validation(scores: tuple[float | None, float | None], tmp_path: Path) -> None:
    long, short = "word " * 42, "word"
    rows = [
        sample(1, "p", long, score=scores[0], kl=1.0),
        sample(1, "q", short, score=scores[1], kl=2.0),
        sample(0, "p", short, score=scores[0], kl=0.0),
    ]
    curve = TRUE_CURVE.table(training_curve(policy(Home(tmp_path), rows))).to_pylist()
    assert [(row["at"], row["n"], row["kl_k1"], row["judge_score"]) for row in curve] == [(0, 1, 0.0, 0.0), (1, 2, 1.5, 2.0)]
    assert curve[1]["score"] == (2.0 if scores[0] is not None else None)
    at_first = true_reward(PROMPT, short)
    # The long response pays 0.06 for each of 20 words above 22 and is worth as little otherwise.
    assert curve[0]["true_reward"] == pytest.approx(at_first)
    assert curve[1]["true_reward"] == pytest.approx(at_first - 20 * 0.06 / 2)


def test_a_training_without_validation_has_no_curve(tmp_path: Path) -> None:
    assert training_curve(policy(Home(tmp_path), None)) == []

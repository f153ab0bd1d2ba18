"""`overnight evaluate reward-model`: what is printed and written. Oracle: each response's score by itself."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from data_contracts.artifact_store import Artifact
from data_contracts.home import Home
from data_contracts.manifest import Identity, InputRef
from data_contracts.records import REWARD_BENCH_ROW
from flows.cli import USER_ERROR, main
from models.reward.reward_model import load_reward_model, new_reward_model
from tests.models.conftest import chat_model  # noqa: F401
from tests.tasks.evaluation.test_reward_bench_rows import BEST_OF_4, PAIRS, TIES, written


@pytest.fixture
def stored(chat_model: Path, tmp_path: Path) -> Artifact:  # noqa: F811
    def build(directory: Path) -> dict[str, int]:
        torch.manual_seed(0)
        new_reward_model(chat_model, 128).save(directory / "model")
        return {}

    return Home(tmp_path / "home").artifacts.make(Identity(kind="reward_model", code_version="1"), build).artifact


def test_figures_are_printed_and_rows_are_written(stored: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = {**PAIRS[0], "id": "long", "rejected": "soap " * 300}
    data = written(tmp_path / "bench.jsonl", [*PAIRS, *BEST_OF_4, *TIES, long])
    arguments = ["evaluate", "reward-model", stored.short_id, "--home", str(tmp_path / "home"), "--data", str(data)]
    assert main([*arguments, "--rows", str(tmp_path / "rows.parquet")]) == 0
    shown = capsys.readouterr().out
    for name in ("alpacaeval-easy", "refusals", "Factuality", "Ties", "tied accuracy", "all", "mean of subsets"):
        assert name in shown
    assert "1 responses their end" in shown
    table = pq.read_table(tmp_path / "rows.parquet")
    assert table.schema.equals(REWARD_BENCH_ROW.schema)
    model = load_reward_model(stored.path / "model")
    for given, row in zip(map(json.loads, data.read_text().splitlines()), table.to_pylist(), strict=True):
        prompt = given["prompt"] if isinstance(given["prompt"], list) else [{"role": "user", "content": given["prompt"]}]
        for side in ("chosen", "rejected"):
            texts = given[side] if isinstance(given[side], list) else [given[side]]
            expected = [model.score([prompt], [text]).score.item() for text in texts]
            assert row[f"{side}_scores"] == pytest.approx(expected, abs=1e-5)
        expected_credit = None if given["subset"] == "Ties" else float(row["chosen_scores"][0] > max(row["rejected_scores"]))
        assert row["credit"] == expected_credit


def test_what_is_no_reward_model_is_refused_with_the_one_behind_it(
    stored: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ref = InputRef(role="reward_model", kind="reward_model", id=stored.id, digest=stored.digest)
    identity = Identity(kind="policy", code_version="1", inputs=(ref,))
    policy = Home(tmp_path / "home").artifacts.make(identity, lambda _: {}).artifact
    data = written(tmp_path / "bench.jsonl", PAIRS)
    assert main(["evaluate", "reward-model", policy.short_id, "--home", str(tmp_path / "home"), "--data", str(data)]) == USER_ERROR
    shown = capsys.readouterr().err
    assert "is a policy and no reward model" in shown
    assert stored.short_id in shown

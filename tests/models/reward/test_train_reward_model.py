"""Training the reward model. Oracle: a planted preference."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from data_contracts.errors import InputError
from data_contracts.records import PREFERENCE, REWARD_FIGURE
from models.configs import RewardModelConfig
from models.job import Job
from models.progress import Progress
from models.reward.preference_data import encode_split, read_preferences
from models.reward.reward_model import RewardModel, load_reward_model, new_reward_model
from models.reward.train_reward_model import run
from tests.models.conftest import sentences, user

SPLITS = ("train", "train", "train", "validation", "test", "judge")


def planted_rows(count: int, *, swapped: bool = False, ties: float = 0.0) -> list[dict[str, object]]:
    """Preferences for the response that ends in `good` over the one that ends in `bad`."""
    prompts, endings = sentences(count), sentences(count, seed=1)
    return [
        {
            "comparison_id": f"c{i:04d}", "prompt_id": f"p{i // 2}", "split": SPLITS[(i // 2) % len(SPLITS)], "slice": f"s{i % 2}",
            "prompt": user(prompts[i]), "chosen": f"{endings[i]} {'bad' if swapped else 'good'}",
            "rejected": f"{endings[i]} {'good' if swapped else 'bad'}", "probability": 0.1 if swapped else 0.9, "weight": 1.0 + i % 3,
            "n_judgments": 3, "n_chosen": 1 if swapped else 2, "n_rejected": 2 if swapped else 1, "tie_probability": ties,
        }
        for i in range(count)
    ]  # fmt: skip


def make_job(tmp_path: Path, base_model: Path, rows: list[dict[str, object]], **config: object) -> Job[RewardModelConfig]:
    folders = {name: tmp_path / name for name in ("preferences", "output", "work")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    pq.write_table(PREFERENCE.table(rows), folders["preferences"] / "preferences.parquet")
    inputs = {"base_model": base_model.parent, "preferences": folders["preferences"]}
    small = {"learning_rate": 3e-4, "epochs": 2, "batch_size": 32}
    return Job(RewardModelConfig(**{**small, **config}), inputs, folders["output"], folders["work"], Progress(None))  # type: ignore[arg-type]


def encoded(tmp_path: Path, base_model: Path, rows: list[dict[str, object]]) -> tuple[RewardModel, list]:  # type: ignore[type-arg]
    torch.manual_seed(0)
    model = new_reward_model(base_model, 100)
    job = make_job(tmp_path, base_model, rows)
    return model, encode_split(read_preferences(job.input("preferences", "preferences.parquet")), "train", model)


def test_learns_a_planted_preference(chat_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, chat_model, planted_rows(240), epochs=6, learning_rate=3e-3, batch_size=16)
    headline = run(job)
    assert headline["accuracy"] > 0.95  # type: ignore[operator]
    assert headline["n_pairs"] == 40
    evaluation = json.loads((job.output / "evaluation.json").read_text())
    assert list(evaluation) == ["train", "validation", "test"]
    assert set(evaluation["test"]["slices"]) == {"s0", "s1"}
    figures = pq.read_table(job.output / "figures.parquet")
    assert figures.schema.equals(REWARD_FIGURE.schema)
    told = {(row["split"], row["figure"]): row["value"] for row in figures.to_pylist() if row["grouping"] == "all"}
    assert told["test", "accuracy"] == evaluation["test"]["accuracy"] == headline["accuracy"]
    assert 0 < told["test", "temperature"] == told["validation", "temperature"]
    assert told["validation", "calibrated_log_loss"] <= told["validation", "log_loss"]  # it was fitted there
    model = load_reward_model(job.output / "model")
    good, bad = model.score([user("clean my lamp")] * 2, ["wipe it good", "wipe it bad"]).score
    assert good > bad
    _, train = encoded(tmp_path, chat_model, planted_rows(240))
    scores = model.score_encoded([side.ids for pair in train for side in (pair.chosen, pair.rejected)])
    assert float(scores.mean()) == pytest.approx(0, abs=1e-4)
    assert float(scores.std(correction=0)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("combination", ["mean", "worst_case"])
def test_an_ensemble_is_evaluated_by_the_score_that_it_is_stored_with(combination: str, chat_model: Path, tmp_path: Path) -> None:
    rows = planted_rows(120)
    settings = {"members": 3, "combination": combination, "likelihood": "rao_kupper", "learning_rate": 3e-3, "batch_size": 16}
    job = make_job(tmp_path, chat_model, rows, **settings)
    headline = run(job)
    model = load_reward_model(job.output / "model")
    assert (model.settings.members, model.settings.combination) == (3, combination)
    tested = [row for row in rows if row["split"] == "test"]
    chosen, rejected = (model.score([row["prompt"] for row in tested], [row[side] for row in tested]) for side in ("chosen", "rejected"))
    assert headline["accuracy"] == pytest.approx(float((chosen.score > rejected.score).double().mean()))
    assert float(chosen.disagreement.min()) > 0
    _, train = encoded(tmp_path, chat_model, rows)
    scores = model.score_encoded([side.ids for pair in train for side in (pair.chosen, pair.rejected)])
    assert scores.mean(0).tolist() == pytest.approx([0] * 3, abs=1e-4)
    assert scores.std(0, correction=0).tolist() == pytest.approx([1] * 3, abs=1e-4)
    metrics = [json.loads(line) for line in (job.output / "metrics.jsonl").read_text().splitlines()]
    assert len(next(row for row in metrics if "epoch" in row)["tie_parameter"]) == 3


def test_best_epoch_is_kept(chat_model: Path, tmp_path: Path) -> None:
    # A learning rate that ruins the model soon: the epoch with the lowest validation loss is an early one.
    rows = planted_rows(120)
    for i, row in enumerate(row for row in rows if row["split"] == "train"):
        row["chosen"], row["rejected"] = (row["rejected"], row["chosen"]) if i % 2 else (row["chosen"], row["rejected"])
    job = make_job(tmp_path, chat_model, rows, epochs=5, learning_rate=1e-2, batch_size=8)
    headline = run(job)
    metrics = [json.loads(line) for line in (job.output / "metrics.jsonl").read_text().splitlines()]
    losses = {row["epoch"]: row["validation_log_loss"] for row in metrics if "epoch" in row}
    assert headline["best_epoch"] == min(losses, key=losses.__getitem__)
    evaluation = json.loads((job.output / "evaluation.json").read_text())
    assert evaluation["validation"]["log_loss"] == pytest.approx(min(losses.values()))


def test_empty_split_says_which_and_how_many_prompts_there_are(chat_model: Path, tmp_path: Path) -> None:
    rows = [row for row in planted_rows(60) if row["split"] != "validation"]
    with pytest.raises(InputError, match=r"'validation' has no preferences; prompts by split: judge 5, test 5, train 15.*fraction"):
        run(make_job(tmp_path, chat_model, rows))
    with pytest.raises(InputError, match="prompts by split: none"):
        run(make_job(tmp_path, chat_model, []))


def test_a_judge_learns_from_its_own_split(chat_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, chat_model, planted_rows(60), split="judge", epochs=1)
    run(job)
    assert list(json.loads((job.output / "evaluation.json").read_text())) == ["judge", "validation", "test"]


def test_shares_that_do_not_add_up_are_named(chat_model: Path, tmp_path: Path) -> None:
    rows = planted_rows(12)
    rows[3]["tie_probability"] = 0.5  # 0.9 for `chosen` with half of the ties leaves −0.15 for the other
    with pytest.raises(InputError, match="do not add up: c0003"):
        run(make_job(tmp_path, chat_model, rows))


def test_missing_column_is_named(chat_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, chat_model, planted_rows(12))
    path = job.input("preferences", "preferences.parquet")
    pq.write_table(pq.read_table(path).drop_columns(["probability"]), path)
    with pytest.raises(InputError, match="no column probability"):
        run(job)

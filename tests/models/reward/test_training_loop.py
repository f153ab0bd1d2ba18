"""The training loop. Oracles: the unbroken run, the losses that were written down, what must be refused."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from data_contracts.errors import InputError, StageError
from data_contracts.manifest import list_files
from models.checkpoint import Checkpoints
from models.job import Job
from models.optimization import StepGuard
from models.progress import Progress
from models.reward.reward_model import load_reward_model
from models.reward.train_reward_model import run
from tests.models.conftest import user
from tests.models.reward.test_train_reward_model import make_job, planted_rows

ENSEMBLE = {"members": 2, "combination": "uncertainty_weighted", "likelihood": "davidson"}


def noisy_rows(count: int) -> list[dict[str, object]]:
    """Every second train pair is the wrong way round: a large learning rate makes the validation loss rise soon."""
    rows = planted_rows(count, ties=0.1)
    for i, row in enumerate(row for row in rows if row["split"] == "train"):
        row["chosen"], row["rejected"] = (row["rejected"], row["chosen"]) if i % 2 else (row["chosen"], row["rejected"])
    return rows


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def metrics_of(job: Job[Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.output / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("patience", [1, 2])
def test_training_stops_when_the_validation_loss_no_longer_falls(patience: int, chat_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path, chat_model, noisy_rows(120), epochs=30, learning_rate=1e-2, batch_size=8, patience=patience)
    headline = run(job)
    losses = [row["validation_log_loss"] for row in metrics_of(job) if "epoch" in row]
    best = losses.index(min(losses))
    assert headline["best_epoch"] == best + 1
    assert len(losses) == best + 1 + patience < 30
    evaluation = json.loads((job.output / "evaluation.json").read_text())
    assert evaluation["validation"]["log_loss"] == pytest.approx(min(losses))


def test_an_epoch_can_have_several_validations(chat_model: Path, tmp_path: Path) -> None:
    # 60 train pairs are 8 steps of 8 pairs: the validations stand at 2.67, 5.33 and 8 steps, so after steps 3, 6 and 8.
    job = make_job(tmp_path, chat_model, planted_rows(120), epochs=2, batch_size=8, validations_per_epoch=3, patience=9)
    run(job)
    assert [row["epoch"] for row in metrics_of(job) if "epoch" in row] == [3 / 8, 6 / 8, 1, 11 / 8, 14 / 8, 2]


class StoppedError(Exception):
    """The process was killed, as far as this test goes."""


class StopsAfter(Progress):
    """A progress file whose writing ends the job after so many steps."""

    def __init__(self, step: int) -> None:
        super().__init__(None)
        self.step = step

    def report(self, done: int, total: int, **figures: float | str | None) -> None:
        if done == self.step:
            raise StoppedError


class Watched(Progress):
    """A progress file that remembers how far the job was, step by step."""

    def __init__(self) -> None:
        super().__init__(None)
        self.seen: list[int] = []

    def report(self, done: int, total: int, **figures: float | str | None) -> None:
        self.seen.append(done)


@pytest.mark.parametrize("tuned", [{}, {"lora": {"rank": 2}, "gradient_checkpointing": True}, {"ensemble": "models"}])
def test_a_resumed_run_ends_as_an_unbroken_one(
    tuned: dict[str, Any], chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a checkpoint at every step; the whole run stops early, and the broken one is stopped three times and once started after.

    Of two models of their own, the first stop is in the first and the others are in the second.
    """
    monkeypatch.setattr(Checkpoints, "due", lambda _: True)
    settings: dict[str, Any] = {"epochs": 10, "learning_rate": 1e-2, "batch_size": 8, **ENSEMBLE, **tuned}
    whole, broken = (make_job(folder(tmp_path / name), chat_model, noisy_rows(80), **settings) for name in ("whole", "broken"))
    watched = Watched()
    headline = run(Job(whole.config, whole.inputs, whole.output, whole.work, watched))
    assert 15 < len(watched.seen) < 50
    for share in (0.1, 0.6, 0.9):
        killed_at = watched.seen[int(share * len(watched.seen))]
        with pytest.raises(StoppedError):
            run(Job(broken.config, broken.inputs, broken.output, broken.work, StopsAfter(killed_at)))
    assert (broken.work / "member-0" / "finished").exists() == ("ensemble" in tuned)
    for _ in range(2):
        assert run(broken) == headline
        assert list_files(broken.output) == list_files(whole.output)


def test_steps_that_are_not_finite_are_counted_and_then_fatal(chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = StepGuard.step
    calls = iter(range(1_000))

    def poisoned(guard: StepGuard, parameters: Any, optimizer: Any, at: tuple[int, ...]) -> float:
        weights = list(parameters)
        if next(calls) in at:
            weights[0].grad[0] = torch.nan
        return step(guard, weights, optimizer)

    monkeypatch.setattr(StepGuard, "step", lambda g, p, o: poisoned(g, p, o, (1, 3, 4)))
    assert run(make_job(folder(tmp_path / "a"), chat_model, planted_rows(120), batch_size=8))["skipped_steps"] == 3
    calls = iter(range(1_000))
    monkeypatch.setattr(StepGuard, "step", lambda g, p, o: poisoned(g, p, o, (1, 2, 3)))
    with pytest.raises(StageError, match="3 steps in a row had no finite gradient"):
        run(make_job(folder(tmp_path / "b"), chat_model, planted_rows(120), batch_size=8))


def test_gradients_are_clipped_and_their_norm_is_written_down(chat_model: Path, tmp_path: Path) -> None:
    """Adam's step does not change with the gradient's scale, but for its epsilon: a tiny limit makes the first step smaller."""
    jobs = [make_job(folder(tmp_path / str(norm)), chat_model, planted_rows(60), epochs=1, max_grad_norm=norm) for norm in (1e-9, 1e9)]
    for job in jobs:
        run(job)
    norms = [[row["grad_norm"] for row in metrics_of(job) if "step" in row][0] for job in jobs]  # noqa: RUF015
    assert norms[0] == norms[1] > 0
    models = [load_reward_model(job.output / "model") for job in jobs]
    assert not torch.equal(models[0].backbone.embed_tokens.weight, models[1].backbone.embed_tokens.weight)


# Preferences of which there is hardly anything to learn.


def test_undecided_preferences_give_a_model_without_an_accuracy(chat_model: Path, tmp_path: Path) -> None:
    rows = [{**row, "probability": 0.5} for row in planted_rows(60)]
    headline = run(make_job(tmp_path, chat_model, rows))
    assert headline["accuracy"] is None
    assert headline["log_loss"] > 0  # type: ignore[operator]


def test_one_class_only_gives_a_model(chat_model: Path, tmp_path: Path) -> None:
    rows = [{**row, "probability": 1.0} for row in planted_rows(60)]
    assert run(make_job(tmp_path, chat_model, rows))["accuracy"] is not None


def test_one_prompt_per_split_has_no_interval_and_one_prompt_in_all_is_refused(chat_model: Path, tmp_path: Path) -> None:
    rows = [{**row, "prompt_id": str(row["split"])} for row in planted_rows(60)]
    headline = run(make_job(folder(tmp_path / "splits"), chat_model, rows))
    assert (headline["n_prompts"], headline["accuracy_low"]) == (1, None)
    assert headline["accuracy"] is not None
    only = [{**row, "prompt_id": "only", "split": "train"} for row in rows]
    with pytest.raises(InputError, match="'validation' has no preferences; prompts by split: train 1"):
        run(make_job(folder(tmp_path / "only"), chat_model, only))


def test_empty_and_overlong_responses_are_learned_from_and_counted(chat_model: Path, tmp_path: Path) -> None:
    rows = planted_rows(60)
    for row in rows:
        row["rejected"], row["chosen"] = "", f"{row['chosen']} {'soap ' * 90}"
    job = make_job(tmp_path, chat_model, rows, max_length=64)
    headline = run(job)
    evaluation = json.loads((job.output / "evaluation.json").read_text())
    assert evaluation["test"]["responses_cut"] == evaluation["test"]["n_pairs"] == 10
    assert (headline["prompts_cut"], headline["responses_cut"]) == (0, 50)  # 30 pairs to learn from, 10 of validation, 10 of the test


@pytest.mark.parametrize("max_length", [64, 10_000])
def test_prompts_longer_than_the_limit_or_the_context_are_cut_and_counted(max_length: int, chat_model: Path, tmp_path: Path) -> None:
    """The backbone has 128 positions."""
    rows = [{**row, "prompt": user("lamp " * 300)} for row in planted_rows(60)]
    job = make_job(tmp_path, chat_model, rows, max_length=max_length)
    headline = run(job)
    assert (headline["prompts_cut"], headline["responses_cut"]) == (50, 0)
    figures = pq.read_table(job.output / "figures.parquet").to_pylist()
    counted = {row["split"]: row["value"] for row in figures if (row["grouping"], row["figure"]) == ("all", "prompts_cut")}
    assert counted == {"train": 30, "validation": 10, "test": 10}

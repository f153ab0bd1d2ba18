"""The PPO loop and its job: what is chosen, when it stops, what is written, and that it learns a known answer."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from data_contracts.errors import InputError, RecipeError
from data_contracts.manifest import list_files
from data_contracts.texts import Message
from models.checkpoint import Checkpoints
from models.configs import SamplingConfig
from models.evaluation.overoptimization import points
from models.language.language_model import load_language_model, save_language_model
from models.language.text import load_tokenizer
from models.policy_configs import PPOConfig
from models.ppo.scoring import Scorer
from models.ppo.train_policy import Standing, run, train
from models.progress import Progress
from models.reward.ensemble import Scored
from tests.models.learning import agreed, ground_of, length_score, make_job, ppo_config, some_prompts, write_inputs
from tests.models.test_resume import killed_twice, unbroken

SILENT = Progress(None)


def train_small(
    model: Path, work: Path, scorer: Scorer = length_score, judge: Scorer | None = None, **changes: object
) -> tuple[dict[str, torch.Tensor], Standing]:
    config = ppo_config(**changes)
    learner, ground = ground_of(model, config, scorer)
    if judge is not None:
        ground = replace(ground, judge=judge)
    standing = train(learner, ground, config, SILENT, Checkpoints(work, "identity"))
    return {name: weight.detach().clone() for name, weight in learner.policy.model.named_parameters()}, standing


def weights_of(model: Path) -> dict[str, torch.Tensor]:
    return dict(load_language_model(model).named_parameters())


def is_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


# Which update is kept.


def judge_that_prefers(update: int) -> Scorer:
    """A judge that gives its n-th batch of responses, which is the n-th validation, 1 if n is the update's and 0 otherwise."""
    calls = iter(range(1_000))
    return lambda _, responses: agreed(torch.full((len(responses),), float(next(calls) == update)))


@pytest.mark.parametrize("best", [0, 1, 3])
def test_the_update_that_the_judge_likes_best_is_kept(best: int, chat_model: Path, tmp_path: Path) -> None:
    kept, standing = train_small(chat_model, tmp_path / "a", judge=judge_that_prefers(best), validation_every=1, learning_rate=1e-3)
    assert standing.best.at == best
    assert standing.updates == 3
    shorter, _ = train_small(
        chat_model, tmp_path / "b", judge=judge_that_prefers(best), validation_every=1, learning_rate=1e-3, validation_prompts=0
    )
    assert is_same(kept, weights_of(chat_model)) == (best == 0)
    assert is_same(kept, shorter) == (best == 3)  # without validation prompts the last update is kept


def test_an_update_beyond_the_kl_budget_is_not_chosen(chat_model: Path, tmp_path: Path) -> None:
    # The judge likes later updates better, but every one after the base model has left the budget.
    calls = iter(range(1_000))
    rising: Scorer = lambda _, responses: agreed(torch.full((len(responses),), float(next(calls))))  # noqa: E731
    kept, standing = train_small(chat_model, tmp_path, judge=rising, validation_every=1, learning_rate=0.05, kl_stop=1e-3)
    assert standing.best.at == 0
    assert is_same(kept, weights_of(chat_model))


def test_training_stops_when_the_kl_leaves_its_budget(chat_model: Path, tmp_path: Path) -> None:
    _, standing = train_small(chat_model, tmp_path, learning_rate=0.05, kl_stop=1e-3, updates=5, validation_prompts=0)
    assert standing.updates == 1  # the first rollout has no KL at all, the second far too much
    assert standing.metrics[-1]["update"] == 1


def test_without_a_learning_rate_the_policy_stays_the_reference(chat_model: Path, tmp_path: Path) -> None:
    config = ppo_config()
    learner, ground = ground_of(chat_model, config, length_score)
    still = config.model_copy(update={"learning_rate": 0.0})
    standing = train(learner, ground, still, SILENT, Checkpoints(tmp_path, "identity"))
    assert is_same(dict(learner.policy.model.named_parameters()), weights_of(chat_model))
    for row in standing.metrics[1:]:
        assert row["kl_k1"] == pytest.approx(0, abs=1e-4)
        assert row["kl_k3"] == pytest.approx(0, abs=1e-6)
        assert row["ratio"] == pytest.approx(1, abs=1e-5)
        assert row["clip_fraction"] == 0


def champion_beside(chat_model: Path, folder: Path) -> Path:
    """The model with noise in its weights, saved in a folder."""
    champion = load_language_model(chat_model)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in champion.parameters():
            weight.add_(0.05 * weight.std() * torch.randn_like(weight))
    save_language_model(champion, load_tokenizer(chat_model), folder / "champion")
    return folder / "champion"


@pytest.mark.parametrize("validation_prompts", [0, 4])
def test_a_champion_beyond_the_kl_budget_is_no_start(chat_model: Path, tmp_path: Path, validation_prompts: int) -> None:
    config = ppo_config(start="champion", kl_stop=1e-9, validation_prompts=validation_prompts)
    learner, ground = ground_of(chat_model, config, length_score, start=champion_beside(chat_model, tmp_path))
    with pytest.raises(RecipeError, match=r"starts from is at a KL of .* above policy\.kl_stop"):
        train(learner, ground, config, SILENT, Checkpoints(tmp_path, "identity"))


def test_a_policy_that_starts_from_a_champion_is_held_near_the_base_model(chat_model: Path, tmp_path: Path) -> None:
    config = ppo_config(start="champion")
    learner, ground = ground_of(chat_model, config, length_score, start=champion_beside(chat_model, tmp_path))
    assert isinstance(ground.actors.reference, torch.nn.Module)
    assert is_same(dict(ground.actors.reference.named_parameters()), weights_of(chat_model))
    still = config.model_copy(update={"learning_rate": 0.0})
    standing = train(learner, ground, still, SILENT, Checkpoints(tmp_path, "identity"))
    assert is_same(dict(learner.policy.model.named_parameters()), weights_of(tmp_path / "champion"))
    assert [row["kl_k1"] > 0.01 for row in standing.metrics[1:]] == [True] * 3  # type: ignore[operator]
    assert points(standing.metrics, "validation_score") == [], "gains over the base model are not told where it was not measured"


def test_lora_starts_from_the_base_model() -> None:
    with pytest.raises(ValidationError, match="leave out start or lora"):
        ppo_config(start="champion", lora={"rank": 2})


def test_every_rollout_draws_new_random_numbers(chat_model: Path, tmp_path: Path) -> None:
    # The same single prompt and, without a learning rate, the same policy: only the random numbers can differ.
    config, seen = ppo_config(validation_prompts=0), set[str]()

    def remember(_: Sequence[object], responses: Sequence[str]) -> Scored:
        seen.update(responses)
        return agreed(torch.ones(len(responses)))

    learner, ground = ground_of(chat_model, config, remember, prompts=1)
    still = config.model_copy(update={"learning_rate": 0.0, "value_learning_rate": 0.0})
    train(learner, ground, still, SILENT, Checkpoints(tmp_path, "identity"))
    assert len(seen) == 3 * 8


def test_the_first_pass_answers_every_prompt_once(chat_model: Path, tmp_path: Path) -> None:
    # By hand: two rollouts of 8 episodes are one pass over 16 prompts.
    seen: list[str] = []

    def remember(prompts: Sequence[Sequence[Message]], responses: Sequence[str]) -> Scored:
        seen.extend(messages[0]["content"] for messages in prompts)
        return agreed(torch.ones(len(responses)))

    _, standing = train_small(chat_model, tmp_path, remember, updates=2, validation_prompts=0)
    assert standing.updates == 2
    assert sorted(seen) == sorted(prompt.messages[0]["content"] for prompt in some_prompts(16))


def test_the_samples_of_a_prompt_stand_together_and_differ(chat_model: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    def remember(prompts: Sequence[Sequence[Message]], responses: Sequence[str]) -> Scored:
        seen.extend((messages[0]["content"], response) for messages, response in zip(prompts, responses, strict=True))
        return agreed(torch.ones(len(responses)))

    train_small(chat_model, tmp_path, remember, method="rloo", samples_per_prompt=4, updates=1, validation_prompts=0)
    prompts = [prompt for prompt, _ in seen]
    assert prompts == [prompts[0]] * 4 + [prompts[4]] * 4
    assert prompts[0] != prompts[4]
    assert len(set(seen)) == 8


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"method": "rloo"}, "samples_per_prompt of 2 or more"),
        ({"method": "grpo", "samples_per_prompt": 3}, "multiple of samples_per_prompt"),
        ({"minibatch_size": 16}, "must not rise"),
    ],
)
def test_batches_that_cannot_be_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ppo_config(**changes)


def test_the_price_of_kl_follows_its_controller(chat_model: Path, tmp_path: Path) -> None:
    # By hand: a KL far below the target lowers the price by 0.2 · 8/100 with every rollout of 8 episodes.
    _, standing = train_small(chat_model, tmp_path, learning_rate=1e-8, kl_coef=0.5, kl_target=1e6, kl_horizon=100)
    prices = [row["kl_coef"] for row in standing.metrics[1:]]
    assert prices == pytest.approx([0.5, 0.5 * 0.984, 0.5 * 0.984**2])


def test_a_fixed_price_of_kl_stays(chat_model: Path, tmp_path: Path) -> None:
    _, standing = train_small(chat_model, tmp_path, kl_control="fixed", kl_coef=0.5, kl_target=1e6, kl_horizon=100)
    assert [row["kl_coef"] for row in standing.metrics[1:]] == [0.5] * 3


def test_an_alarm_is_told_once_kept_every_time_and_stops_where_asked(chat_model: Path, tmp_path: Path) -> None:
    # By hand: every rollout is longer than a tenth of the first one, so the monitor alarms from the first update on.
    (tmp_path / "warns").mkdir()
    told = Progress(tmp_path / "progress.jsonl")
    config = ppo_config(monitors={"length_growth": 0.1}, checkpoint_every=1)
    learner, ground = ground_of(chat_model, config, length_score)
    standing = train(learner, ground, config, told, Checkpoints(tmp_path / "warns", "identity"))
    assert [(alarm.update, alarm.monitor, alarm.action) for alarm in standing.alarms] == [(i, "length_growth", "warn") for i in (1, 2, 3)]
    notes = [line for line in (tmp_path / "progress.jsonl").read_text().splitlines() if "length_growth" in line]
    assert len(notes) == 1
    stops: dict[str, Any] = {"monitors": {"length_growth": 0.1, "stop": ["length_growth"]}, "checkpoint_every": 1}
    for _ in range(2):  # a run that is resumed stays stopped
        _, stopped = train_small(chat_model, tmp_path / "stops", **stops)
        assert (stopped.updates, stopped.is_stopped) == (1, True)
        assert [alarm.action for alarm in stopped.alarms] == ["stop"]
        assert "validation_judge_score" in stopped.metrics[-1]  # where it stopped is judged, too


# Resuming: the oracle is the unbroken run.


class StoppedError(BaseException):
    """The process was killed, as far as this test goes; nothing that handles errors may catch it."""


SHARED_LORA = {"method": "ppo", "lora": {"rank": 2}, "value": "shared", "value_warmup": 1}


@pytest.mark.parametrize(("killed_at", "method"), [(3, {}), (5, {}), (6, {"method": "rloo"}), (5, SHARED_LORA)])
def test_a_resumed_run_ends_as_an_unbroken_one(killed_at: int, method: dict[str, Any], chat_model: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"updates": 4, "checkpoint_every": 2, "validation_every": 2, "learning_rate": 1e-3}
    options |= {"monitors": {"length_growth": 0.1}, "samples_per_prompt": 2, **method}
    expected, whole = train_small(chat_model, tmp_path / "whole", **options)
    calls = iter(range(1_000))

    def until_killed(prompts: Sequence[object], responses: Sequence[str]) -> Scored:
        if next(calls) == killed_at:
            raise StoppedError
        return length_score(prompts, responses)

    with pytest.raises(StoppedError):
        train_small(chat_model, tmp_path / "killed", until_killed, judge=length_score, **options)
    resumed, standing = train_small(chat_model, tmp_path / "killed", **options)
    assert is_same(resumed, expected)
    assert standing.metrics == whole.metrics
    assert standing.alarms == whole.alarms != []
    assert (standing.best.at, standing.kl) == (whole.best.at, whole.kl)


@pytest.mark.slow
def test_a_killed_job_ends_with_the_same_files(chat_model: Path, tmp_path: Path) -> None:
    config = ppo_config(updates=40, checkpoint_every=3, validation_every=7, value_from="reward_model", learning_rate=1e-3)
    inputs = write_inputs(tmp_path, chat_model)
    jobs = [make_job(tmp_path / name, config, inputs) for name in ("whole", "killed")]
    expected = unbroken("train_policy", jobs[0], tmp_path)
    assert {"metrics.jsonl", "model/model.safetensors", "model/tokenizer.json"} <= {entry.path for entry in expected}
    assert killed_twice("train_policy", jobs[1], tmp_path) == expected


# The job.


def test_the_job_writes_a_model_and_a_line_per_update(chat_model: Path, tmp_path: Path) -> None:
    config = ppo_config(validation_every=2, value_from="reward_model")
    inputs = write_inputs(tmp_path, chat_model)
    first, again = (make_job(tmp_path / name, config, inputs) for name in ("first", "again"))
    headline = run(first)
    assert headline["updates"] == 3
    assert headline["episodes"] == 24
    assert headline["best_update"] in (0, 2, 3)
    rows = [json.loads(line) for line in (first.output / "metrics.jsonl").read_text().splitlines()]
    assert [row["update"] for row in rows] == [0, 1, 2, 3]
    assert [row["update"] for row in rows if "validation_judge_score" in row] == [0, 2, 3]
    assert (first.output / "alarms.jsonl").exists()
    assert not any("second" in name or "time" in name for row in rows for name in row)
    best = rows[int(str(headline["best_update"]))]
    assert headline["judge_gain"] == pytest.approx(best["validation_judge_score"] - rows[0]["validation_judge_score"])
    assert headline["kl"] == best["validation_kl_k1"]
    load_tokenizer(first.output / "model")
    load_language_model(first.output / "model")
    assert run(again) == headline
    assert list_files(first.output) == list_files(again.output)


def test_a_job_without_validation_prompts_reports_the_last_rollout(chat_model: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", ppo_config(validation_prompts=0), write_inputs(tmp_path, chat_model))
    headline = run(job)
    rows = [json.loads(line) for line in (job.output / "metrics.jsonl").read_text().splitlines()]
    assert headline["best_update"] == 3
    assert headline["kl"] == rows[-1]["kl_k1"]
    assert headline["score_gain"] == pytest.approx(rows[-1]["score"] - rows[1]["score"])


def test_a_split_without_prompts_is_an_input_error(chat_model: Path, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path, chat_model, splits=("train",))
    with pytest.raises(InputError, match="'validation' has no prompts"):
        run(make_job(tmp_path / "job", ppo_config(), inputs))


# A known answer: the reward is the share of one word, which PPO must raise far above the base model's, at a bounded KL.


def share_of_good(_: Sequence[object], responses: Sequence[str]) -> Scored:
    return agreed(torch.tensor([4 * text.split().count("good") / max(1, len(text.split())) for text in responses]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ppo_learns_a_known_answer(seed: int, fluent_model: Path, tmp_path: Path) -> None:
    config = PPOConfig(
        seed=seed,
        sampling=SamplingConfig(max_new_tokens=16),
        updates=20,
        rollout_batch_size=64,
        minibatch_size=32,
        microbatch_size=32,
        epochs=2,
        learning_rate=2e-3,
        value_learning_rate=3e-3,
        value_from="base_model",
        kl_target=8.0,
        validation_every=10,
        validation_prompts=16,
    )
    learner, ground = ground_of(fluent_model, config, share_of_good, prompts=48)
    standing = train(learner, ground, config, SILENT, Checkpoints(tmp_path, "identity"))
    rows = standing.metrics[1:]
    before, after = float(rows[0]["score"] or 0), float(rows[-1]["score"] or 0)
    assert before < 0.6  # one of sixteen words
    assert after > 2.0  # half of all words
    assert all(0 <= float(row["kl_k3"] or 0) < 25 for row in rows)
    assert standing.best.at
    assert math.isfinite(standing.best.judge_score)
    assert standing.best.judge_score > before + 1

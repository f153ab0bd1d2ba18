"""The DPO trainer and its job: what a step learns, what is kept, that it resumes, and that it comes near a known answer."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from accelerate import Accelerator

from data_contracts.errors import InputError, RecipeError
from data_contracts.manifest import list_files
from data_contracts.records import PREFERENCE
from models.checkpoint import Checkpoints
from models.dpo.pairs import Pair, check_context, load_pairs
from models.dpo.train_dpo import Ground, Training, run
from models.language.language_model import load_language_model
from models.language.prompts import encode_prompts
from models.language.text import load_tokenizer, pad_token
from models.policy_configs import DPOConfig
from models.ppo.rollout import Actors
from models.ppo.scoring import Scorer
from models.progress import Progress
from models.reward.ensemble import Scored
from tests.models.conftest import sentences
from tests.models.learning import SAMPLING, agreed, length_score, make_job, some_prompts, write_inputs
from tests.models.ppo.test_known_answer import KL_COEF, PROMPTS, Answer


def dpo_config(**changes: object) -> DPOConfig:
    small = {"sampling": SAMPLING, "batch_size": 8, "learning_rate": 1e-3, "validation_prompts": 4, "validations": 2, "epochs": 2}
    return DPOConfig.model_validate({**small, **changes})


def preferences(count: int = 20) -> list[dict[str, object]]:
    """Preferences between random texts, of which the longer one is chosen; in train and, every fifth, in validation."""
    rows = []
    for i, (prompt, a, b) in enumerate(zip(some_prompts(count), sentences(count, seed=3), sentences(count, seed=4), strict=True)):
        chosen, rejected = sorted((a, b), key=len, reverse=True)
        rows.append(
            dict.fromkeys(PREFERENCE.schema.names)
            | {"comparison_id": f"c{i:03d}", "prompt_id": prompt.prompt_id, "split": "validation" if i % 5 == 4 else "train"}
            | {
                "slice": prompt.slice,
                "prompt": prompt.messages,
                "chosen": chosen,
                "rejected": rejected,
                "probability": 0.5 + i / (2 * count),
            }
            | {"weight": 1.0 + i % 3, "n_judgments": 4, "n_chosen": 3, "n_rejected": 1, "tie_probability": 0.0}
        )
    return rows


def inputs_of(root: Path, model: Path) -> dict[str, Path]:
    found = write_inputs(root, model)
    pq.write_table(PREFERENCE.table(preferences()), root / "prompts" / "preferences.parquet")
    return {role: path for role, path in found.items() if role != "reward_model"}


def ground_of(model: Path, config: DPOConfig, pairs: Sequence[Pair], judge: Scorer = length_score, *, prompts: int = 8) -> Ground:
    tokenizer = load_tokenizer(model)
    policy, reference = load_language_model(model), load_language_model(model).eval().requires_grad_(False)
    encoded = encode_prompts(tokenizer, some_prompts(prompts), 64)
    actors = Actors(policy, reference, None, tokenizer, config.precision)
    return Ground(actors, pairs, judge, encoded if config.validation_prompts else None, pad_token(tokenizer))


def training_of(ground: Ground, config: DPOConfig, work: Path) -> Training:
    return Training(ground, config, Accelerator(cpu=True), Progress(None), Checkpoints(work, "identity"))


def some_pairs(count: int = 24) -> list[Pair]:
    random = torch.Generator().manual_seed(0)

    def ids() -> list[int]:
        return torch.randint(4, 300, (int(torch.randint(1, 9, (1,), generator=random)),), generator=random).tolist()

    return [Pair(ids(), ids(), ids(), 0.5 + (i % 5) / 8, 1.0 + i % 3, is_cut=False) for i in range(count)]


# Pairs.


def test_a_pair_is_read_as_the_policy_reads_texts(chat_model: Path, tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path, chat_model)
    tokenizer = load_tokenizer(chat_model)
    pairs = load_pairs(inputs["prompts"] / "preferences.parquet", "train", tokenizer, dpo_config())
    rows = [row for row in preferences() if row["split"] == "train"]
    assert len(pairs) == len(rows) == 16
    for pair, row in zip(pairs, rows, strict=True):
        assert tokenizer.decode(pair.chosen) == str(row["chosen"]) + tokenizer.eos_token
        assert tokenizer.decode(pair.rejected) == str(row["rejected"]) + tokenizer.eos_token
        assert (pair.probability, pair.weight, pair.is_cut) == (row["probability"], row["weight"], False)
    hard = load_pairs(inputs["prompts"] / "preferences.parquet", "train", tokenizer, dpo_config(labels="hard", max_response_tokens=3))
    assert [pair.probability for pair in hard] == [0.5] + [1.0] * 15
    for pair, whole in zip(hard, pairs, strict=True):
        assert (pair.chosen, pair.rejected) == (whole.chosen[:3], whole.rejected[:3])
        assert pair.is_cut == (max(len(whole.chosen), len(whole.rejected)) > 3)
    assert any(pair.is_cut for pair in hard)
    with pytest.raises(InputError, match="'judge' has no preferences"):
        load_pairs(inputs["prompts"] / "preferences.parquet", "judge", tokenizer, dpo_config())


def test_a_pair_beyond_the_models_context_is_an_error(chat_model: Path) -> None:
    with pytest.raises(RecipeError, match=r"130 tokens, more than the model's 128.*max_response_tokens"):
        check_context([Pair([5] * 100, [6] * 30, [7], 1.0, 1.0, is_cut=False)], load_language_model(chat_model))


# Steps.


def test_the_first_step_sees_the_reference(chat_model: Path, tmp_path: Path) -> None:
    # Theorem: a policy that is its reference has margins of 0, so that the loss is ln 2.
    config = dpo_config(validation_prompts=0)
    standing = training_of(ground_of(chat_model, config, some_pairs()), config, tmp_path).run()
    first, last = standing.metrics[1], standing.metrics[-1]
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["margin"] == pytest.approx(0, abs=1e-5)
    assert last["loss"] < first["loss"]
    assert [row["step"] for row in standing.metrics] == list(range(7))


def test_bfloat16_learns_nearly_the_same(chat_model: Path, tmp_path: Path) -> None:
    """Oracle: the same in float32, from which bfloat16's 8 bits (2^-8 is 0.4 %) are told apart and not far away."""
    found = {}
    for precision in ("float32", "bfloat16"):
        config = dpo_config(validation_prompts=0, precision=precision)
        training = training_of(ground_of(chat_model, config, some_pairs()), config, tmp_path / precision)
        found[precision] = training.run()
        assert all(p.dtype == torch.float32 for p in training.policy.parameters())
    exact, rounded = ([row["grad_norm"] for row in found[precision].metrics[1:]] for precision in found)
    assert rounded == pytest.approx(exact, rel=0.1)
    assert rounded != pytest.approx(exact, rel=1e-4)
    assert found["bfloat16"].metrics[1]["margin"] == pytest.approx(0, abs=0.01)
    assert found["bfloat16"].metrics[-1]["loss"] < found["bfloat16"].metrics[1]["loss"]


def test_microbatches_of_a_pair_and_of_a_batch_learn_the_same(chat_model: Path, tmp_path: Path) -> None:
    found = []
    for tokens in (64, 16384):
        config = dpo_config(microbatch_tokens=tokens, validation_prompts=0, epochs=1, learning_rate=1e-4)
        ground = ground_of(chat_model, config, some_pairs())
        standing = training_of(ground, config, tmp_path / str(tokens)).run()
        found.append((standing.metrics, [w.detach() for w in ground.actors.policy.parameters()]))
    for one, whole in zip(found[0][0], found[1][0], strict=True):
        # Not the accuracy: at the first step, margins are 0 but for rounding.
        for name in one.keys() - {"accuracy"}:
            assert one[name] == pytest.approx(whole[name], rel=1e-3, abs=1e-5)
    for one, whole in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, whole, atol=2e-5, rtol=1e-4)


# What is kept, and when it stops.


def judge_that_prefers(validation: int) -> Scorer:
    calls = iter(range(1_000))
    return lambda _, responses: agreed(torch.full((len(responses),), float(next(calls) == validation)))


@pytest.mark.parametrize(("best", "step"), [(0, 0), (1, 3), (2, 6)])
def test_the_step_that_the_judge_likes_best_is_kept(best: int, step: int, chat_model: Path, tmp_path: Path) -> None:
    # By hand: 24 pairs in two epochs of 8 are 6 steps, and two validations stand behind steps 3 and 6.
    config = dpo_config()
    ground = ground_of(chat_model, config, some_pairs(), judge_that_prefers(best))
    standing = training_of(ground, config, tmp_path).run()
    assert standing.best.at == step
    assert [row["step"] for row in standing.metrics if "validation_judge_score" in row] == [0, 3, 6]
    before = load_language_model(chat_model)
    kept = dict(ground.actors.policy.named_parameters())
    assert all(torch.equal(weight, kept[name]) for name, weight in before.named_parameters()) == (best == 0)


def test_training_stops_when_the_kl_leaves_its_budget(chat_model: Path, tmp_path: Path) -> None:
    config = dpo_config(learning_rate=0.05, kl_stop=1e-3)
    for _ in range(2):  # and stays so when it is resumed
        standing = training_of(ground_of(chat_model, config, some_pairs()), config, tmp_path).run()
        assert (standing.steps, standing.best.at) == (3, 0)


# Resuming: the oracle is the unbroken run.


class StoppedError(BaseException):
    """The process was killed, as far as this test goes; nothing that handles errors may catch it."""


def test_a_resumed_run_ends_as_an_unbroken_one(chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checkpoints, "due", lambda _: True)
    config, calls = dpo_config(), iter(range(1_000))

    def until_killed(_: Sequence[object], responses: Sequence[str]) -> Scored:
        if next(calls) == 2:
            raise StoppedError
        return length_score(_, responses)

    expected = ground_of(chat_model, config, some_pairs())
    whole = training_of(expected, config, tmp_path / "whole").run()
    with pytest.raises(StoppedError):
        training_of(ground_of(chat_model, config, some_pairs(), until_killed), config, tmp_path / "killed").run()
    resumed = ground_of(chat_model, config, some_pairs())
    standing = training_of(resumed, config, tmp_path / "killed").run()
    assert standing.metrics == whole.metrics
    assert standing.best.state() == whole.best.state()
    for one, other in zip(resumed.actors.policy.parameters(), expected.actors.policy.parameters(), strict=True):
        assert torch.equal(one, other)


# The job.


def test_the_job_writes_a_model_and_a_line_per_step(chat_model: Path, tmp_path: Path) -> None:
    config, inputs = dpo_config(), inputs_of(tmp_path, chat_model)
    first, again = (make_job(tmp_path / name, config, inputs) for name in ("first", "again"))
    headline = run(first)
    assert {"steps": 4, "pairs": 16, "pairs_cut": 0, "steps_skipped": 0}.items() <= headline.items()
    rows = [json.loads(line) for line in (first.output / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    best = rows[int(str(headline["best_step"]))]
    assert headline["judge_gain"] == pytest.approx(best["validation_judge_score"] - rows[0]["validation_judge_score"])
    load_language_model(first.output / "model")
    samples = pq.read_table(first.output / "samples.parquet").to_pylist()
    assert {row["at"] for row in samples if row["kept"]} == {headline["best_step"]}
    for row in rows:
        judged = [sample["judge_score"] for sample in samples if sample["at"] == row["step"]]
        assert len(judged) == (4 if "validation_judge_score" in row else 0)
        assert not judged or sum(judged) / 4 == pytest.approx(row["validation_judge_score"], abs=1e-5)
    assert run(again) == headline
    assert list_files(first.output) == list_files(again.output)


# A known answer: with a Bradley-Terry judgment of pairs, DPO's best policy is that of PPO at a price of KL of beta.


@pytest.mark.slow
def test_the_best_policy_under_the_price_of_kl_is_come_near(chat_model: Path, tmp_path: Path) -> None:
    # Oracle: if a is preferred with σ(score of a − score of b), the loss is smallest for the policy ∝ p_ref · exp(score / beta).
    config = dpo_config(beta=KL_COEF, learning_rate=1e-2, batch_size=128, epochs=2, validation_prompts=0)
    ground = ground_of(chat_model, config, [], prompts=PROMPTS)
    answer = Answer(ground.actors, encode_prompts(ground.actors.tokenizer, some_prompts(PROMPTS), 64).ids)
    random, pairs = torch.Generator().manual_seed(0), []
    for prompt, logprobs in zip(answer.prompts, answer.ref_logprobs, strict=True):
        tokens = torch.multinomial(logprobs.exp(), 3000, replacement=True, generator=random)
        for a, b in tokens.view(-1, 2).tolist():
            probability = float(torch.sigmoid(answer.scores[a] - answer.scores[b]))
            pairs.append(Pair(prompt, [a], [b], probability, 1.0, is_cut=False))
    ground = ground_of(chat_model, config, pairs, prompts=PROMPTS)
    training_of(ground, config, tmp_path).run()
    before = answer.objective(answer.reference)
    assert before + 0.75 * (answer.best - before) < answer.objective(ground.actors.policy) < answer.best

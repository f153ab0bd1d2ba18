"""One PPO update on small models: the first step, microbatches, the schedule, and what is reported."""

import math
import statistics
from pathlib import Path

import pytest
import torch
from torch import Tensor

from data_contracts.errors import StageError
from models.policy_configs import PPOConfig
from models.ppo.ppo_update import StepFigures, learn, make_lesson, mean_kl, update_figures
from models.ppo.rollout import Rollout, collect_rollout
from models.ppo.trainees.learner import Learner
from tests.models.learning import ground_of, length_score, ppo_config

KL_COEF = 0.1


def prepare(model: Path, config: PPOConfig) -> tuple[Learner, Rollout]:
    learner, ground = ground_of(model, config, length_score, prompts=8)
    with torch.no_grad():  # so that there is KL to pay for
        for parameter in ground.actors.reference.parameters():
            parameter.mul_(1.02)
    rollout = collect_rollout(ground.actors, length_score, ground.prompts, config.sampling, seeds=list(range(8)), microbatch_size=8)
    lengths = torch.tensor([3, 8, 1, 5, 8, 2, 7, 4])  # responses of different lengths, as if they had ended
    mask = torch.arange(8) < lengths[:, None]
    names = ("logprobs", "ref_logprobs", "entropy", *(() if rollout.values is None else ("values",)))
    cut = {name: getattr(rollout, name) * mask for name in names}
    responses = [ids[:n] for ids, n in zip(rollout.responses, lengths.tolist(), strict=True)]
    return learner, rollout._replace(responses=responses, response_mask=mask, ended=lengths < 8, **cut)


def weights(learner: Learner) -> list[Tensor]:
    return [w.detach().clone() for model in (learner.policy.model, learner.value.model) for w in model.parameters()]


def update(model: Path, number: int = 0, **changes: object) -> tuple[Learner, list[StepFigures]]:
    config = ppo_config(**{"minibatch_size": 8, "epochs": 2, **changes})
    learner, rollout = prepare(model, config)
    return learner, learn(learner, rollout, make_lesson(rollout, config, KL_COEF), config, number)


def test_the_first_step_sees_the_policy_that_sampled(chat_model: Path) -> None:
    # Theorem: before any step the ratio is 1 everywhere, so nothing is clipped and the KL to the old policy is 0;
    # the loss is then −mean of whitened advantages, which is 0.
    _, steps = update(chat_model, learning_rate=1e-2)
    first, last = steps[0], steps[-1]
    assert first.ratio == pytest.approx(1, abs=1e-5)
    assert first.approx_kl == pytest.approx(0, abs=1e-8)
    assert first.clip_fraction == 0
    assert first.policy_loss == pytest.approx(0, abs=1e-5)
    assert last.approx_kl > 1e-4


def test_microbatches_of_one_and_of_eight_learn_the_same(chat_model: Path) -> None:
    one, steps_one = update(chat_model, microbatch_size=1)
    eight, steps_eight = update(chat_model, microbatch_size=8)
    for a, b in zip(steps_one, steps_eight, strict=True):
        assert a[:-1] == pytest.approx(b[:-1], rel=1e-4, abs=1e-5)
        assert (a.ptx_loss, b.ptx_loss) == (None, None)
    for before, after in zip(weights(one), weights(eight), strict=True):
        torch.testing.assert_close(before, after, atol=2e-5, rtol=1e-4)


def test_gradients_of_microbatches_add_up_with_models_in_float64(chat_model: Path) -> None:
    from models.ppo.ppo_update import _losses

    config = ppo_config()
    learner, rollout = prepare(chat_model, config)
    learner.policy.model.double()
    learner.value.model.backbone.double()
    lesson = make_lesson(rollout, config, KL_COEF)
    tokens = int(rollout.response_mask.sum())

    def gradients(parts: list[list[int]]) -> list[Tensor]:
        for part in parts:
            of_policy, of_value = _losses(learner, rollout, lesson, config, part, tokens)
            torch.autograd.backward(of_policy.loss + of_value.loss)
        found = [w.grad.clone() for m in (learner.policy.model, learner.value.model) for w in m.parameters() if w.grad is not None]
        learner.policy.model.zero_grad()
        learner.value.model.zero_grad()
        return found

    # Softmax and value head compute in float32 on purpose, which bounds how well the sums can agree.
    for whole, summed in zip(gradients([list(range(8))]), gradients([[i] for i in range(8)]), strict=True):
        torch.testing.assert_close(whole, summed, atol=1e-6, rtol=1e-5)


def test_without_a_learning_rate_nothing_moves(chat_model: Path) -> None:
    config = ppo_config(epochs=3)
    learner, rollout = prepare(chat_model, config)
    before = weights(learner)
    still = config.model_copy(update={"learning_rate": 0.0, "value_learning_rate": 0.0})
    steps = learn(learner, rollout, make_lesson(rollout, config, KL_COEF), still, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(learner), strict=True))
    for step in steps:
        assert step.ratio == pytest.approx(1, abs=1e-5)
        assert step.clip_fraction == 0


def test_the_learning_rate_falls_in_a_straight_line_to_zero(chat_model: Path) -> None:
    # 3 updates × 2 epochs × 2 minibatches are 12 steps: the last step of update 1 (from 0) is number 7, so 5/12 is left.
    config = ppo_config(updates=3, epochs=2, minibatch_size=4, learning_rate=0.12, value_learning_rate=0.24)
    learner, rollout = prepare(chat_model, config)
    learn(learner, rollout, make_lesson(rollout, config, KL_COEF), config, 1)
    assert learner.policy.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert learner.value.optimizer.param_groups[0]["lr"] == pytest.approx(0.10)


def test_a_step_makes_good_responses_likelier_and_values_truer(chat_model: Path) -> None:
    # Signs, end to end: one small step from the sampling policy raises Σ advantage · logprob and lowers the value error.
    config = ppo_config(epochs=1, minibatch_size=8, learning_rate=1e-4, value_learning_rate=1e-3)
    learner, rollout = prepare(chat_model, config)
    lesson = make_lesson(rollout, config, KL_COEF)

    def now() -> tuple[float, float]:
        from models.language.language_model import response_batch, response_logprobs
        from models.ppo.trainees.value_model import response_values

        batch = response_batch(rollout.prompts, rollout.responses, learner.pad_id)
        with torch.no_grad():
            gain = (response_logprobs(learner.policy.model, batch, 1.0) * lesson.normalized_advantages).sum()
            error = ((response_values(learner.value.model, batch) - lesson.returns).square() * rollout.response_mask).sum()
        return float(gain), float(error)

    before = now()
    learn(learner, rollout, lesson, config, 0)
    after = now()
    assert after[0] > before[0]
    assert after[1] < before[1]


def test_steps_that_are_not_finite_are_skipped_counted_and_at_last_an_error(chat_model: Path) -> None:
    config = ppo_config(minibatch_size=8, epochs=2)
    learner, rollout = prepare(chat_model, config)
    before = weights(learner)
    broken = make_lesson(rollout, config, KL_COEF)._replace(normalized_advantages=torch.full_like(rollout.logprobs, math.nan))
    steps = learn(learner, rollout, broken, config, 0)
    assert learner.policy.guard.skipped == 2
    assert all(torch.equal(a, b) for a, b in zip(before, list(learner.policy.model.parameters()), strict=False))
    assert update_figures(rollout, broken, steps)["policy_loss"] is None
    with pytest.raises(StageError, match="3 steps in a row"):
        learn(learner, rollout, broken, config, 1)


def test_an_update_ends_early_when_the_policy_has_moved_far_enough(chat_model: Path) -> None:
    # The first step sees the policy that sampled, so it never ends an update; a learning rate this high makes the second one do so.
    _, all_steps = update(chat_model, learning_rate=1e-2, epochs=4)
    _, steps = update(chat_model, learning_rate=1e-2, epochs=4, approx_kl_stop=1e-4)
    assert len(all_steps) == 4
    assert len(steps) == 2
    assert steps == all_steps[:2]
    assert steps[0].approx_kl < 1e-4 < steps[1].approx_kl


def test_figures_of_an_update_by_hand(chat_model: Path) -> None:
    config = ppo_config(missing_eos_penalty=2.0)
    _, rollout = prepare(chat_model, config)
    lesson = make_lesson(rollout, config, KL_COEF)
    figures = update_figures(rollout, lesson, [StepFigures(*[1.0] * 8), StepFigures(*[3.0] * 8)])
    kl = [sum((a - b).tolist()) for a, b in zip(rollout.logprobs, rollout.ref_logprobs, strict=True)]
    assert figures["kl_k1"] == pytest.approx(sum(kl) / 8, rel=1e-4)
    assert float(mean_kl(rollout)) == figures["kl_k1"]
    assert figures["score"] == pytest.approx(sum(map(len, rollout.text)) / 8)
    # The rewards of a response add up to its score, less the penalty of 2 for 2 of 8 that did not end, less the price of KL.
    assert figures["reward"] == pytest.approx(sum(map(len, rollout.text)) / 8 - 2.0 * 2 / 8 - KL_COEF * sum(kl) / 8, rel=1e-4)
    assert figures["response_length"] == 38 / 8
    assert figures["ended_share"] == 6 / 8
    assert figures["clip_fraction"] == 2
    entropy = figures["entropy"]
    assert entropy is not None
    assert 0 <= entropy <= math.log(320)


def test_whitened_rewards_keep_their_mean(chat_model: Path) -> None:
    # With γ = λ = 1 the first return is the sum of all learnt rewards (theorem), and whitening keeps the mean over tokens.
    config = ppo_config(whiten_rewards=True, gamma=1.0, gae_lambda=1.0)
    _, rollout = prepare(chat_model, config)
    lesson = make_lesson(rollout, config, KL_COEF)
    assert float(lesson.returns[:, 0].sum()) == pytest.approx(float(lesson.rewards.sum()), rel=1e-4)
    spread = (lesson.returns[:, :-1] - lesson.returns[:, 1:])[rollout.response_mask[:, :-1]]
    assert spread.abs().max() < rollout.scores.max()  # the score of a last token is scaled down


def test_scores_are_clipped_before_a_missing_end_is_paid_for(chat_model: Path) -> None:
    # By hand: scores lose what is beyond 3 on either side, then pay 2 for a missing end; equal logprobs leave no KL to pay for.
    config = ppo_config(score_clip=3.0, missing_eos_penalty=2.0)
    _, rollout = prepare(chat_model, config)
    rollout = rollout._replace(ref_logprobs=rollout.logprobs, scores=torch.tensor([9.0, 1, -7, 3, 9, 0, 2, 3]))
    paid = [0.0, 2, 0, 0, 2, 0, 0, 0]  # the second and fifth response are as long as can be
    expected = [score - pays for score, pays in zip([3.0, 1, -3, 3, 3, 0, 2, 3], paid, strict=True)]
    assert make_lesson(rollout, config, KL_COEF).rewards.sum(1).tolist() == expected


def test_returns_come_from_advantages_that_are_not_whitened(chat_model: Path) -> None:
    # Theorem: with γ = λ = 1 a return is the sum of the rewards to come, whatever the values; whitened advantages would not give it.
    config = ppo_config(gamma=1.0, gae_lambda=1.0)
    _, rollout = prepare(chat_model, config)
    lesson = make_lesson(rollout._replace(values=torch.randn_like(rollout.values) * rollout.response_mask), config, KL_COEF)
    to_come = lesson.rewards.flip(1).cumsum(1).flip(1) * rollout.response_mask
    torch.testing.assert_close(lesson.returns, to_come, atol=1e-4, rtol=1e-4)


# Without a value model.


@pytest.mark.parametrize("method", ["reinforce", "rloo", "grpo"])
def test_a_response_is_worth_what_its_method_says(method: str, chat_model: Path) -> None:
    # By hand, from scores less missing ends: two groups of four. All but GRPO, which does so in its loss, pay for KL in the rewards.
    config = ppo_config(method=method, samples_per_prompt=4, missing_eos_penalty=2.0)
    _, rollout = prepare(chat_model, config)
    assert rollout.values is None
    lesson = make_lesson(rollout._replace(scores=torch.arange(8.0) ** 2), config, KL_COEF)
    kl = ((rollout.logprobs - rollout.ref_logprobs) * rollout.response_mask).sum(1).tolist()
    pays = [0, 2, 0, 0, 2, 0, 0, 0]
    price = 0.0 if method == "grpo" else KL_COEF
    worth = [i**2 - pays[i] - price * kl[i] for i in range(8)]
    for i in range(8):
        group = worth[i // 4 * 4 : i // 4 * 4 + 4]
        expected = {
            "reinforce": worth[i] - statistics.fmean(worth),
            "rloo": worth[i] - (sum(group) - worth[i]) / 3,
            "grpo": (worth[i] - statistics.fmean(group)) / (statistics.pstdev(group) + 1e-4),
        }[method]
        length = len(rollout.responses[i])
        assert lesson.normalized_advantages[i].tolist() == pytest.approx([expected] * length + [0] * (8 - length), rel=1e-4, abs=1e-4)
    assert lesson.returns is None
    assert lesson.kl_loss_coef == (KL_COEF if method == "grpo" else 0)


def test_grpo_pays_for_kl_in_its_loss(chat_model: Path) -> None:
    # Equal scores teach nothing, so that the loss is kl_coef · mean k3, and a step brings the policy nearer to the reference.
    config = ppo_config(method="grpo", samples_per_prompt=4, epochs=4, minibatch_size=8, learning_rate=1e-5)
    learner, rollout = prepare(chat_model, config)
    rollout = rollout._replace(scores=torch.ones(8), ended=torch.ones(8, dtype=torch.bool))
    steps = learn(learner, rollout, make_lesson(rollout, config, KL_COEF), config, 0)
    tokens, d = int(rollout.response_mask.sum()), (rollout.ref_logprobs - rollout.logprobs) * rollout.response_mask
    assert steps[0].policy_loss == pytest.approx(KL_COEF * float((d.exp() - 1 - d).sum()) / tokens, rel=1e-4)
    assert steps[-1].policy_loss < steps[0].policy_loss
    assert steps[0].value_loss is None

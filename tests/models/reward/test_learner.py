"""The gradient of a batch of preferences. Oracles: the batch in other pieces, the pairs one by one, the loss by hand."""

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from data_contracts.errors import InputError
from models.configs import RewardModelConfig
from models.reward.evaluation.baselines import fit_length_only
from models.reward.learner import Learner, accumulate_gradients, differences_of
from models.reward.preference_data import Group, Preference, in_groups
from models.reward.reward_model import RewardModel, new_reward_model
from tests.models.conftest import sentences, user

LIKELIHOODS = ("bradley_terry", "rao_kupper", "davidson")
WHOLE, IN_PIECES = 100_000, 1


def some_model(directory: Path, members: int = 1) -> RewardModel:
    torch.manual_seed(0)
    return new_reward_model(directory, 100, members=members).double()


def some_pairs(model: RewardModel, count: int = 8) -> list[Preference]:
    """Pairs with ties, contested verdicts, strengths and different weights."""
    prompts, one, other = (sentences(count, seed=seed) for seed in range(3))
    return [
        Preference(
            f"p{i // 2}", "x", model.encode(user(prompts[i // 2]), one[i]), model.encode(user(prompts[i // 2]), other[i]),
            probability=(0.6, 0.75, 1.0)[i % 3], weight=1.0 + i % 4, tie_probability=(0.4, 0.1, 0.0)[i % 3], n_judgments=10,
            strength=(None, 0.5, 2.0)[i % 3],
        )
        for i in range(count)
    ]  # fmt: skip


def some_ranking(model: RewardModel, size: int = 4) -> list[Preference]:
    responses = [model.encode(user("clean my lamp"), text) for text in sentences(size, seed=9)]
    return [Preference("r", "x", a, b, 1.0, 1 / 6, ranking_id="best-first") for a, b in combinations(responses, 2)]


def gradient(model: RewardModel, groups: Sequence[Group], budget: int, **settings: Any) -> Tensor:
    """The gradient of everything that learns, the tie parameter included."""
    learner = Learner(model, RewardModelConfig(**settings), [pair for group in groups for pair in group.pairs])
    learner.double().zero_grad()
    accumulate_gradients(learner, Accelerator(), groups, budget)
    return torch.cat([parameter.grad.flatten() for parameter in learner.parameters() if parameter.grad is not None])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("members", [1, 3])
def test_one_batch_of_eight_equals_eight_of_one(likelihood: str, members: int, chat_model: Path) -> None:
    model = some_model(chat_model, members)
    settings: dict[str, Any] = {"likelihood": likelihood, "members": members, "label_smoothing": 0.1, "margin_per_strength": 0.3}
    settings["length_term"] = True
    groups = in_groups([*some_pairs(model), *some_ranking(model)])
    whole, pieces = (gradient(model, groups, budget, **settings) for budget in (WHOLE, IN_PIECES))
    torch.testing.assert_close(whole, pieces, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_swapped_sides_with_the_opposite_probability_are_the_same(likelihood: str, chat_model: Path) -> None:
    model = some_model(chat_model)
    pairs = some_pairs(model)
    swapped = [
        p._replace(
            chosen=p.rejected, rejected=p.chosen, probability=1 - p.probability, strength=None if p.strength is None else -p.strength
        )
        for p in pairs
    ]
    settings: dict[str, Any] = {"likelihood": likelihood, "margin_per_strength": 0.3}
    found = [gradient(model, in_groups(side), WHOLE, **settings) for side in (pairs, swapped)]
    torch.testing.assert_close(found[0], found[1], atol=1e-6, rtol=1e-6)


def test_a_ranking_is_one_group_that_encodes_each_response_once(chat_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = some_model(chat_model)
    pairs = some_ranking(model, size=5)
    groups = in_groups([pairs[0], *some_pairs(model, 2), *pairs[1:]])
    assert [len(group.pairs) for group in groups] == [10, 1, 1]
    encoded: list[int] = []
    score_tokens = model.score_tokens
    monkeypatch.setattr(model, "score_tokens", lambda rows: (encoded.append(len(rows)), score_tokens(rows))[1])
    of_ranking = gradient(model, groups[:1], IN_PIECES)
    assert encoded == [5]
    one_by_one = gradient(model, [Group([pair]) for pair in pairs], IN_PIECES)
    assert encoded == [5, *[2] * 10]
    torch.testing.assert_close(of_ranking, one_by_one, atol=1e-6, rtol=1e-6)


def test_the_pairs_of_a_prompt_are_one_group_where_they_are_to_be_together(chat_model: Path) -> None:
    model = some_model(chat_model)
    pairs = [pair._replace(ranking_id=None) for pair in some_ranking(model, size=5)]
    groups = in_groups([pairs[0], *some_pairs(model, 2), *pairs[1:]], "prompts")
    assert [len(group.pairs) for group in groups] == [10, 2]
    assert groups[0].n_sequences == 5
    assert len(in_groups(pairs)) == 10
    torch.testing.assert_close(gradient(model, groups[:1], IN_PIECES), gradient(model, in_groups(pairs), IN_PIECES), atol=1e-6, rtol=1e-6)


def test_rankings_of_the_same_name_to_different_prompts_are_apart(chat_model: Path) -> None:
    pairs = some_ranking(some_model(chat_model))
    assert len(in_groups([*pairs, *(pair._replace(prompt_id="other") for pair in pairs)])) == 2


def test_training_loss_by_hand(chat_model: Path) -> None:
    """σ(d − 0.3·strength) with a tenth of the judgments turned round, by weight or every pair once."""
    model = some_model(chat_model)
    pair = some_pairs(model)[2]._replace(weight=3.0, probability=0.8, tie_probability=0.0, strength=2.0)
    difference = torch.tensor([[1.5]], dtype=torch.float64)
    settings: dict[str, Any] = {"label_smoothing": 0.1, "margin_per_strength": 0.3}
    share, shifted = 0.8 * 0.9 + 0.2 * 0.1, 1.5 - 0.6
    expected = share * math.log(1 + math.exp(-shifted)) + (1 - share) * math.log(1 + math.exp(shifted))
    weighted = Learner(model, RewardModelConfig(**settings), [pair])
    assert weighted.training_loss([pair], difference).item() == pytest.approx(3 * expected)
    equal = Learner(model, RewardModelConfig(weighting="equal", **settings), [pair])
    assert equal.training_loss([pair], difference).item() == pytest.approx(expected)
    assert (weighted.total_weight([pair, pair]), equal.total_weight([pair, pair])) == (6, 2)
    plain = 0.8 * math.log(1 + math.exp(-1.5)) + 0.2 * math.log(1 + math.exp(1.5))
    assert weighted.mean_loss([pair, pair], difference.expand(2, 1)) == pytest.approx(plain)


def test_each_member_learns_from_its_own_draw_of_the_prompts(chat_model: Path) -> None:
    """A member's head has the gradient of a single model whose pairs have the weights that the member drew, over the members."""
    model, single = some_model(chat_model, members=3), some_model(chat_model)
    pairs = some_pairs(model, 12)
    config = RewardModelConfig(members=3, seed=4)
    learner = Learner(model, config, pairs)
    drawn = {name: tuple(weights) for name, weights in learner.resample.items()}
    assert len(set(drawn.values())) > 1
    accumulate_gradients(learner, Accelerator(), in_groups(pairs), WHOLE)
    total = sum(pair.weight for pair in pairs)
    for member in range(3):
        with torch.no_grad():
            single.head.weight.copy_(model.head.weight[member : member + 1])
        own = [pair._replace(weight=pair.weight * drawn[pair.prompt_id][member]) for pair in pairs if drawn[pair.prompt_id][member]]
        single.zero_grad()
        accumulate_gradients(Learner(single, RewardModelConfig(), own), Accelerator(), in_groups(own), WHOLE)
        assert single.head.weight.grad is not None
        assert model.head.weight.grad is not None
        expected = single.head.weight.grad[0] * sum(pair.weight for pair in own) / total / 3
        torch.testing.assert_close(model.head.weight.grad[member], expected, atol=1e-6, rtol=1e-5)


def test_the_length_term_starts_at_what_length_explains_and_is_learned_beside_the_score(chat_model: Path) -> None:
    """Planted: σ(difference + 0.8 · length difference / its spread); the standard error with 3,000 pairs is about 0.05."""
    model, random = some_model(chat_model), torch.Generator().manual_seed(1)
    side = model.encode(user("clean my lamp"), "wipe it")
    lengths = torch.randint(1, 30, (3000, 2), generator=random).tolist()
    sides = [[side._replace(response_length=n) for n in pair] for pair in lengths]
    differences = torch.randn(3000, 1, generator=random, dtype=torch.float64)
    scale = math.sqrt(sum((a - b) ** 2 for a, b in lengths) / 3000)
    odds = differences[:, 0] + 0.8 * torch.tensor([(a - b) / scale for a, b in lengths], dtype=torch.float64)
    wins = (torch.rand(3000, generator=random, dtype=torch.float64) < odds.sigmoid()).tolist()
    pairs = [Preference(f"p{i}", "x", *sides[i], float(wins[i]), 1.0) for i in range(3000)]
    learner = Learner(model, RewardModelConfig(length_term=True), pairs).double()
    assert learner.length is not None
    assert learner.length.item() == pytest.approx(fit_length_only(pairs).slope * scale)
    optimizer = torch.optim.LBFGS([learner.length], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        value = learner.training_loss(pairs, differences) / 3000
        value.backward()
        return value.item()

    optimizer.step(loss)
    assert learner.length.item() == pytest.approx(0.8, abs=0.15)
    torch.testing.assert_close(learner.log_odds(differences), differences[:, 0])  # the score alone
    plain = Learner(model, RewardModelConfig(), pairs)
    assert plain.mean_loss(pairs, differences) > learner.mean_loss(pairs, differences)


def test_differences_are_scores_of_one_side_less_the_other(chat_model: Path) -> None:
    model = some_model(chat_model)
    pairs = some_pairs(model)
    expected = [(model.score_tokens([p.chosen.ids]) - model.score_tokens([p.rejected.ids])).item() for p in pairs]
    assert differences_of(model, pairs)[:, 0].tolist() == pytest.approx(expected)


def test_margins_need_strengths(chat_model: Path) -> None:
    model = some_model(chat_model)
    pairs = [pair._replace(strength=None) for pair in some_pairs(model)]
    with pytest.raises(InputError, match=r"no preference has one.*margin_per_strength = 0"):
        Learner(model, RewardModelConfig(margin_per_strength=1.0), pairs)

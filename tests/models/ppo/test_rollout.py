"""Rollouts: what is gathered about a response is what separate, unpadded computations say of it."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.errors import RecipeError, StageError
from models.batching import CPU_PASS_TOKENS
from models.configs import SamplingConfig
from models.language.language_model import load_language_model
from models.language.prompts import EncodedPrompts
from models.language.text import load_tokenizer
from models.ppo.ground import Ground
from models.ppo.ppo_math import entropy
from models.ppo.rollout import Rollout, collect_rollout, microbatches, pass_tokens
from models.ppo.trainees.value_model import load_value_model
from models.reward.reward_model import RewardModel, load_reward_model, new_reward_model
from tests.models.learning import SAMPLING, ground_of, length_score, ppo_config, write_inputs

TEMPERATURE = 0.7


def roll_out(model: Path, *, microbatch_size: int = 3) -> tuple[Ground, Rollout]:
    sampling = SAMPLING.model_copy(update={"temperature": TEMPERATURE})
    _, ground = ground_of(model, ppo_config(sampling=sampling), length_score, prompts=7)
    with torch.no_grad():  # a reference that differs, and a value head that is not zero
        for parameter in ground.actors.reference.parameters():
            parameter.add_(0.01)
        ground.actors.value.head.weight.normal_(generator=torch.Generator().manual_seed(3))

    def collect(ending: SamplingConfig) -> Rollout:
        seeds = list(range(7))
        return collect_rollout(ground.actors, length_score, ground.prompts, ending, seeds=seeds, microbatch_size=microbatch_size)

    fourth = collect(sampling).responses[0][3]  # as the end token it ends some responses early, since the true one is too rare here
    return ground, collect(sampling.model_copy(update={"eos_token_id": fourth}))


@pytest.mark.parametrize("name", ["chat_model", "gpt2_model"])
def test_every_row_is_what_the_models_say_of_it_alone(name: str, request: pytest.FixtureRequest) -> None:
    # Oracle: one plain forward pass per sequence, without padding, over the whole text.
    ground, rollout = roll_out(request.getfixturevalue(name))
    lengths = [len(response) for response in rollout.responses]
    assert len(set(lengths)) > 1
    assert rollout.response_mask.sum(1).tolist() == lengths
    value: RewardModel = ground.actors.value
    for row, (prompt, response) in enumerate(zip(rollout.prompts, rollout.responses, strict=True)):
        ids, at = torch.tensor([prompt + response]), torch.arange(len(prompt) - 1, len(prompt) + len(response) - 1)
        columns = slice(0, len(response))
        with torch.no_grad():
            for model, found in ((ground.actors.policy, rollout.logprobs), (ground.actors.reference, rollout.ref_logprobs)):
                distribution = (model(ids).logits[0, at] / TEMPERATURE).log_softmax(-1)
                expected = distribution[torch.arange(len(response)), torch.tensor(response)]
                torch.testing.assert_close(found[row, columns], expected, atol=2e-5, rtol=1e-5)
            of_policy = entropy(ground.actors.policy(ids).logits[0, at] / TEMPERATURE)
            torch.testing.assert_close(rollout.entropy[row, columns], of_policy, atol=2e-5, rtol=1e-5)
            hidden = value.backbone(input_ids=ids).last_hidden_state[0, at]
            torch.testing.assert_close(rollout.values[row, columns], value.head(hidden).squeeze(-1), atol=2e-5, rtol=1e-5)


def test_scores_ends_and_padding(chat_model: Path) -> None:
    _, rollout = roll_out(chat_model)
    assert len(rollout.responses[0]) <= 4
    eos = rollout.responses[0][-1]
    assert rollout.scores.tolist() == [len(text) for text in rollout.text]
    assert rollout.ended.tolist() == [response[-1] == eos for response in rollout.responses]
    assert {True, False} == set(rollout.ended.tolist())
    for found in (rollout.logprobs, rollout.ref_logprobs, rollout.entropy, rollout.values):
        assert (found[~rollout.response_mask] == 0).all()


def test_the_size_of_microbatches_changes_nothing(chat_model: Path) -> None:
    one, seven = roll_out(chat_model, microbatch_size=1)[1], roll_out(chat_model, microbatch_size=7)[1]
    assert one.responses == seven.responses
    for name in ("logprobs", "entropy", "ref_logprobs", "values"):
        torch.testing.assert_close(getattr(one, name), getattr(seven, name), atol=2e-5, rtol=1e-5)


def test_a_sampler_that_sees_another_model_is_found_out(chat_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.ppo import rollout as module

    respond = module.respond

    def wrong(*arguments: object, **options: object) -> list[module.Response]:
        answers = respond(*arguments, **options)  # type: ignore[arg-type]
        return [answer._replace(logprobs=[value * 1.001 - 1e-3 for value in answer.logprobs]) for answer in answers]

    monkeypatch.setattr(module, "respond", wrong)
    with pytest.raises(StageError, match="logprobs differ"):
        roll_out(chat_model)


def test_sampler_and_forward_pass_agree_on_a_real_model(stories: Path) -> None:
    sampling = SAMPLING.model_copy(update={"max_new_tokens": 64, "eos_token_id": 1})
    _, ground = ground_of(stories, ppo_config(sampling=sampling), length_score, prompts=6)
    rollout = collect_rollout(ground.actors, length_score, ground.prompts, sampling, seeds=list(range(6)), microbatch_size=6)
    assert rollout.response_mask.sum() > 300
    torch.testing.assert_close(rollout.logprobs, rollout.ref_logprobs)


# The value model's start.


def test_a_value_model_from_the_base_model_forecasts_nothing_yet(chat_model: Path) -> None:
    config = ppo_config(value_from="base_model")
    value = load_value_model(config, chat_model, chat_model, load_tokenizer(chat_model), torch.device("cpu"))
    hidden = torch.randn(2, 3, value.backbone.config.hidden_size)
    assert value.scalar(hidden).tolist() == [[0] * 3] * 2
    base = load_language_model(chat_model)
    torch.testing.assert_close(value.backbone.state_dict(), base.model.state_dict(), rtol=0, atol=0)


def test_a_value_model_from_the_reward_model_forecasts_its_score_at_the_end(chat_model: Path, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path, chat_model)
    directory, tokenizer = inputs["reward_model"] / "model", load_tokenizer(chat_model)
    value = load_value_model(ppo_config(value_from="reward_model"), directory, chat_model, tokenizer, torch.device("cpu"))
    scored = load_reward_model(directory)
    torch.testing.assert_close(value.state_dict(), scored.state_dict(), rtol=0, atol=0)


def test_a_value_model_from_an_ensemble_starts_from_its_combined_score(chat_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    new_reward_model(chat_model, 64, members=3, combination="worst_case").save(tmp_path / "model")
    config = ppo_config(value_from="reward_model")
    value = load_value_model(config, tmp_path / "model", chat_model, load_tokenizer(chat_model), torch.device("cpu"))
    hidden = torch.randn(2, 3, value.backbone.config.hidden_size)
    expected = (hidden @ value.head.weight.T).amin(-1)  # new heads have no bias, and are not normalised
    torch.testing.assert_close(value.scalar(hidden), expected)


@pytest.mark.parametrize(("other", "why"), [("bert_model", "encoder"), ("stories", "vocabulary")])
def test_a_reward_model_that_cannot_be_a_value_model_is_refused(
    other: str, why: str, chat_model: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    new_reward_model(request.getfixturevalue(other), 32).save(tmp_path / "model")
    with pytest.raises(RecipeError, match=rf"{why}.*value_from"):
        load_value_model(
            ppo_config(value_from="reward_model"), tmp_path / "model", chat_model, load_tokenizer(chat_model), torch.device("cpu")
        )


def test_no_prompt_is_no_batch(chat_model: Path) -> None:
    _, ground = ground_of(chat_model, ppo_config(), length_score, prompts=1)
    only = EncodedPrompts(ground.prompts.prompts, ground.prompts.ids, cut=0)
    rollout = collect_rollout(ground.actors, length_score, only, SAMPLING, seeds=[5], microbatch_size=4)
    assert rollout.response_mask.all()


@given(lengths=st.lists(st.integers(1, 1500), min_size=1, max_size=30), size=st.integers(1, 9))
def test_a_pass_on_a_cpu_has_few_rows_and_few_tokens(lengths: list[int], size: int) -> None:
    prompts, responses = [[5]] * len(lengths), [[5] * length for length in lengths]
    groups = microbatches(range(len(lengths)), prompts, responses, size, pass_tokens(torch.device("cpu")))
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) <= size
        assert len(group) == 1 or len(group) * (1 + max(lengths[row] for row in group)) <= CPU_PASS_TOKENS

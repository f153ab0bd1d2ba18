"""What PPO does with prompts, models and reward functions that are not as they should be: one clear error, or counted handling."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from data_contracts.errors import InputError, RecipeError, StageError
from data_contracts.records import PROMPT
from models.configs import SamplingConfig
from models.language.language_model import load_language_model, save_language_model
from models.language.prompts import Prompt, encode_prompts
from models.language.text import load_tokenizer
from models.ppo.rollout import Rollout, collect_rollout
from models.ppo.scoring import Scorer, score_responses
from models.ppo.train_policy import run
from models.ppo.trainees.value_model import load_value_model
from models.reward.ensemble import Scored
from tests.models.conftest import user
from tests.models.learning import SAMPLING, agreed, ground_of, length_score, make_job, ppo_config, write_inputs

CONTEXT = 128  # of the small chat model


# Prompts.


def longest_prompt(model: Path, tokens: int) -> Prompt:
    """A prompt of exactly so many tokens."""
    tokenizer, text = load_tokenizer(model), "a"
    while (length := len(encode_prompts(tokenizer, [Prompt("long", "a", user(text))], 10_000).ids[0])) < tokens:
        text += " a" if tokens - length > 1 else "a"
    assert length == tokens
    return Prompt("long", "a", user(text))


@pytest.mark.parametrize(("tokens", "fits"), [(CONTEXT - 8, True), (CONTEXT - 7, False)])
def test_a_prompt_that_leaves_no_room_for_the_response_is_an_error_before_anything_is_trained(
    tokens: int, fits: bool, chat_model: Path, tmp_path: Path
) -> None:
    inputs = write_inputs(tmp_path, chat_model)
    path = inputs["prompts"] / "prompts.parquet"
    long = longest_prompt(chat_model, tokens)
    row = {"prompt_id": long.prompt_id, "split": "train", "slice": long.slice, "prompt": long.messages}
    pq.write_table(PROMPT.table([*pq.read_table(path).to_pylist(), row]), path)
    job = make_job(tmp_path / "job", ppo_config(updates=1), inputs)
    if fits:
        assert run(job)["prompts_cut"] == 0
    else:
        with pytest.raises(RecipeError, match=rf"{tokens} tokens with a response of up to 8 does not fit into the model's {CONTEXT}"):
            run(job)
        assert not (tmp_path / "job" / "progress.jsonl").exists()


def test_a_prompt_over_the_length_limit_keeps_its_end_and_is_counted(chat_model: Path, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path, chat_model)
    config = ppo_config(updates=1, sampling=SamplingConfig(max_new_tokens=8, max_prompt_tokens=2))
    assert run(make_job(tmp_path / "job", config, inputs))["prompts_cut"] == 12  # all of the split train


def test_a_prompt_without_a_message_or_a_token_is_named(chat_model: Path) -> None:
    tokenizer, fine = load_tokenizer(chat_model), Prompt("fine", "a", user("hello"))
    with pytest.raises(InputError, match="no message: empty"):
        encode_prompts(tokenizer, [fine, Prompt("empty", "a", [])], 64)
    tokenizer.chat_template = "{{ messages[0].content }}"
    with pytest.raises(InputError, match="no token: empty"):
        encode_prompts(tokenizer, [fine, Prompt("empty", "a", user(""))], 64)


def test_an_empty_message_is_a_prompt_as_any(chat_model: Path, stories: Path) -> None:
    for model in (chat_model, stories):
        (ids,) = encode_prompts(load_tokenizer(model), [Prompt("p", "a", user(""))], 64).ids
        assert len(ids) > 0


def rollout_of(model: Path, sampling: SamplingConfig = SAMPLING, *, prompt: str = "how do i clean", pad_id: int | None = None) -> Rollout:
    _, ground = ground_of(model, ppo_config(), length_score)
    if pad_id is not None:
        ground.actors.tokenizer.pad_token_id = pad_id
    prompts = [Prompt(str(i), "a", user(prompt + " it" * i)) for i in range(4)]
    encoded = encode_prompts(ground.actors.tokenizer, prompts, 64)
    return collect_rollout(ground.actors, length_score, encoded, sampling, seeds=[0, 1, 2, 3], microbatch_size=4)


def test_the_end_token_may_stand_in_prompts(chat_model: Path) -> None:
    # The chat template itself puts it behind a message, and here a word of the prompt is the end token as well.
    tokenizer = load_tokenizer(chat_model)
    word = tokenizer.encode(" it", add_special_tokens=False)[-1]
    rollout = rollout_of(chat_model, SAMPLING.model_copy(update={"eos_token_id": word}))
    assert all(word in prompt for prompt in rollout.prompts[1:])
    assert rollout.response_mask.sum(1).tolist() == [len(ids) for ids in rollout.responses]
    assert rollout.ended.tolist() == [ids[-1] == word for ids in rollout.responses]
    assert max(map(len, rollout.responses)) == 8


def test_padding_with_the_end_token_changes_nothing(chat_model: Path) -> None:
    # The third token of the first response as the end makes some responses shorter than others.
    eos_id = rollout_of(chat_model).responses[0][2]
    sampling = SAMPLING.model_copy(update={"eos_token_id": eos_id})
    apart, same = rollout_of(chat_model, sampling), rollout_of(chat_model, sampling, pad_id=eos_id)
    assert len(set(map(len, apart.responses))) > 1
    assert (same.responses, same.text, same.ended.tolist()) == (apart.responses, apart.text, apart.ended.tolist())
    for name in ("response_mask", "logprobs", "ref_logprobs", "values", "scores", "entropy"):
        torch.testing.assert_close(getattr(same, name), getattr(apart, name), atol=1e-6, rtol=1e-6)


# Models.


@pytest.fixture(scope="module")
def endless_model(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small chat model with a tokenizer that has no end token."""
    directory = tmp_path_factory.mktemp("endless") / "model"
    tokenizer = load_tokenizer(chat_model)
    save_language_model(load_language_model(chat_model), tokenizer, directory)
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": None, "sep_token": None}))
    assert load_tokenizer(directory).eos_token_id is None
    return directory


def test_a_base_model_without_an_end_token_asks_for_one(endless_model: Path, tmp_path: Path, chat_model: Path) -> None:
    inputs = {**write_inputs(tmp_path, chat_model), "base_model": endless_model.parent}
    with pytest.raises(InputError, match=r"no end token.*eos_token_id"):
        run(make_job(tmp_path / "without", ppo_config(updates=1), inputs))
    told = ppo_config(updates=1, sampling={"max_new_tokens": 8, "eos_token_id": 5})
    assert run(make_job(tmp_path / "told", told, inputs))["updates"] == 1
    value = load_value_model(told, endless_model, endless_model, load_tokenizer(endless_model), torch.device("cpu"))
    assert value.settings.eos_id == 5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_any_type_are_computed_with_in_float32(dtype: torch.dtype, chat_model: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(chat_model, dtype=dtype)
    save_language_model(model, load_tokenizer(chat_model), tmp_path / "model")
    loaded = load_language_model(tmp_path / "model")
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    rollout = rollout_of(tmp_path / "model")
    assert rollout.logprobs.dtype == torch.float32


# Reward functions.


def not_finite(_: Sequence[object], responses: Sequence[str]) -> Scored:
    return agreed(torch.tensor([float("nan"), *range(1, len(responses))]))


def not_finitely_sure(_: Sequence[object], responses: Sequence[str]) -> Scored:
    return Scored(torch.zeros(len(responses)), torch.full((len(responses),), float("inf")))


def one_too_few(_: Sequence[object], responses: Sequence[str]) -> Scored:
    return agreed(torch.zeros(len(responses) - 1))


def two_dimensional(_: Sequence[object], responses: Sequence[str]) -> Scored:
    return agreed(torch.zeros(len(responses), 1))


def raises(_: Sequence[object], responses: Sequence[str]) -> Scored:
    return agreed(torch.tensor([1 / len(response.split("nowhere")[1:]) for response in responses]))


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (not_finite, r"score that is not finite for 1 of 3 responses: 'good lamp'.*finite score"),
        (not_finitely_sure, r"disagreement that is not finite for 3 of 3"),
        (one_too_few, r"score of shape \(2,\) for 3 responses.*one number for each"),
        (two_dimensional, r"score of shape \(3, 1\) for 3 responses"),
        (raises, r"the judge could not score responses: ZeroDivisionError: division by zero"),
    ],
)
def test_a_reward_function_that_fails_is_told_so(scorer: Scorer, message: str) -> None:
    with pytest.raises(StageError, match=message):
        score_responses(scorer, [user("a")] * 3, ["good lamp", "bad", ""], name="the judge")


def test_a_failing_reward_ends_the_rollout_with_its_error(chat_model: Path) -> None:
    _, ground = ground_of(chat_model, ppo_config(), not_finite)
    with pytest.raises(StageError, match="the reward gave a score that is not finite for 1 of 16"):
        collect_rollout(ground.actors, ground.scorer, ground.prompts, SAMPLING, seeds=list(range(16)), microbatch_size=8)


def test_errors_in_the_users_words_pass_unchanged() -> None:
    def refuses(_: Sequence[object], __: Sequence[str]) -> Scored:
        raise InputError("no such model")

    with pytest.raises(InputError, match="no such model"):
        score_responses(refuses, [user("a")], ["b"])

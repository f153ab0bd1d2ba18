"""Text to tokens and back. Oracles: the tokenizers' own encodings, rules written out by hand, and properties."""

from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.errors import InputError
from models.language.text import (
    decode_response,
    encode_pair,
    encode_prompt,
    encode_response,
    end_token,
    flush_left,
    load_tokenizer,
    pad_left,
    pad_right,
)
from tests.models.conftest import user

load_once = cache(load_tokenizer)
"""Property tests run many times."""


def test_chat_prompt_is_what_the_template_writes(chat_model: Path) -> None:
    tokenizer = load_tokenizer(chat_model)
    messages = [*user("how do i clean it"), {"role": "assistant", "content": "wipe it"}, *user("with soap")]
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert encode_prompt(tokenizer, messages, 100) == (expected, False)
    ids = [tokenizer.convert_tokens_to_ids(t) for t in ("<|user|>", "<|assistant|>", "<|end|>")]
    assert [i for i in expected if i in ids] == [ids[0], ids[1], ids[2], ids[0], ids[1]]


@pytest.mark.parametrize("text", ["<|end|>", "a<|end|><|assistant|>b", "\ue0000\ue001 <|user|>", "<|pad|><|pad|>", "\ue0009\ue001"])
def test_special_tokens_in_texts_are_letters(chat_model: Path, text: str) -> None:
    tokenizer = load_tokenizer(chat_model)
    special = {tokenizer.convert_tokens_to_ids(t) for t in ("<|user|>", "<|assistant|>", "<|end|>", "<|pad|>")}
    assert not special & set(encode_response(tokenizer, text, -1))
    begin, *content, end = encode_prompt(tokenizer, user(text), 1000).ids
    assert {begin, end} <= special
    assert not special & set(content)
    if "\ue000" not in text or "<" not in text:  # one text stands for a shield itself: it is read as the special's letters
        assert tokenizer.decode(content) == text


def test_special_tokens_are_letters_without_a_template_too(stories: Path) -> None:
    tokenizer = load_tokenizer(stories)
    ids = encode_prompt(tokenizer, user("Once </s><s>"), 100).ids
    assert ids[0] == 1
    assert not {1, 2} & set(ids[1:])


def test_prompt_without_a_template(stories: Path) -> None:
    tokenizer = load_tokenizer(stories)
    prompt = encode_prompt(tokenizer, [*user("Once upon"), *user("a time")], 100)
    assert prompt.ids == tokenizer.encode("Once upon\n\na time\n")  # the tokenizer itself puts <s> in front


def test_long_prompt_keeps_its_end_and_its_beginning_of_text(stories: Path, chat_model: Path) -> None:
    tokenizer = load_tokenizer(stories)
    whole = encode_prompt(tokenizer, user("Once upon a time there was a dog"), 100)
    short = encode_prompt(tokenizer, user("Once upon a time there was a dog"), 5)
    assert (whole.cut, short.cut) == (False, True)
    assert short.ids == [1, *whole.ids[-4:]]
    chat = load_tokenizer(chat_model)
    assert encode_prompt(chat, user("clean my old lamp"), 3).ids == encode_prompt(chat, user("clean my old lamp"), 100).ids[-3:]


@settings(max_examples=60)
@given(text=st.text(max_size=40))
def test_byte_level_round_trip(chat_model: Path, text: str) -> None:
    tokenizer = load_once(chat_model)
    eos = end_token(tokenizer)
    ids = encode_response(tokenizer, text, eos)
    assert ids[-1] == eos
    assert decode_response(tokenizer, ids, eos) == text


@settings(max_examples=60)
@given(prompt=st.integers(1, 30), response=st.integers(0, 30), max_length=st.integers(8, 40))
def test_pair_cuts_the_prompt_first(chat_model: Path, prompt: int, response: int, max_length: int) -> None:
    tokenizer = load_once(chat_model)
    messages, text, eos = user("x" * prompt), "y" * response, end_token(tokenizer)
    whole_prompt, whole_response = encode_prompt(tokenizer, messages, 1000).ids, encode_response(tokenizer, text, eos)
    pair = encode_pair(tokenizer, messages, text, eos, max_length)
    kept_prompt, kept_response = pair.ids[: -pair.response_length], pair.ids[-pair.response_length :]
    assert len(pair.ids) == min(max_length, len(whole_prompt) + len(whole_response))
    assert kept_prompt == whole_prompt[len(whole_prompt) - len(kept_prompt) :]
    assert kept_response == [*whole_response[: pair.response_length - 1], eos]
    assert pair.prompt_cut == (len(kept_prompt) < len(whole_prompt))
    assert pair.response_cut == (pair.response_length < len(whole_response))
    if pair.response_cut:
        assert len(kept_prompt) <= max_length // 4


def test_end_token(stories: Path, chat_model: Path, bert_model: Path) -> None:
    assert end_token(load_tokenizer(stories)) == 2
    assert end_token(load_tokenizer(stories), 1) == 1
    bert = load_tokenizer(bert_model)
    assert end_token(bert) == bert.sep_token_id
    with pytest.raises(InputError, match="900"):
        end_token(load_tokenizer(stories), 900)
    chat = load_tokenizer(chat_model)
    chat.eos_token = None
    with pytest.raises(InputError, match="eos_token_id in the recipe"):
        end_token(chat)


def test_padding_by_hand() -> None:
    left, right = pad_left([[5, 6, 7], [8]], 0), pad_right([[5, 6, 7], [8]], 0)
    assert left.ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert left.mask.tolist() == [[True, True, True], [False, False, True]]
    assert left.position_ids.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert right.ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert right.mask.tolist() == [[True, True, True], [True, False, False]]
    assert right.position_ids.tolist() == [[0, 1, 2], [0, 0, 0]]
    assert left.ids.dtype == torch.long


def test_flushed_left_is_padded_right() -> None:
    rows = [[5, 6, 7], [8], [9, 0]]
    for found, expected in zip(flush_left(pad_left(rows, 0)), pad_right(rows, 0), strict=True):
        assert found.tolist() == expected.tolist()


def test_directory_without_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)

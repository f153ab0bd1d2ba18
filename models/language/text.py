"""The only place where text becomes tokens, and tokens text.

Texts come from outside, so nothing in them may act as a special token: a response that says `<|end|>` is made of the
letters of `<|end|>`. Lengths and masks decide what counts, never a comparison with the pad token: pad and end may be one id.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoTokenizer

from data_contracts.errors import InputError
from data_contracts.texts import Message

Tokenizer = Any
"""A tokenizer of the transformers library."""

SHIELD = "\ue000{}\ue001"
"""Stands for a special token's text inside a message while the chat template is filled in."""


class EncodedPrompt(NamedTuple):
    """A prompt as tokens."""

    ids: list[int]
    cut: bool
    """Whether the prompt was too long and lost its beginning."""


class EncodedPair(NamedTuple):
    """A prompt with a response, as tokens, as a reward model reads them."""

    ids: list[int]
    response_length: int
    """Tokens of the response that are in `ids`, the end token included."""
    prompt_cut: bool
    response_cut: bool


class Padded(NamedTuple):
    """Sequences of different lengths in one rectangle of shape (B, L)."""

    ids: Tensor
    mask: Tensor
    """True where a token counts."""
    position_ids: Tensor
    """Position of each token in its own sequence, from 0; padding has position 0."""


def load_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer in a model directory.

    Raises:
        InputError: there is none that can be read without running foreign code.
    """
    try:
        return AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            "the model directory has no tokenizer that can be read",
            where=str(directory),
            remedy="add tokenizer.json and tokenizer_config.json, as `save_pretrained` writes them",
        ) from error


def end_token(tokenizer: Tokenizer, override: int | None = None) -> int:
    """The id that ends a response: the override, or the tokenizer's own end (for an encoder, its separator)."""
    token = next((i for i in (override, tokenizer.eos_token_id, tokenizer.sep_token_id) if i is not None), None)
    if token is None:
        raise InputError("the tokenizer has no end token", where=str(tokenizer.name_or_path), remedy="set eos_token_id in the recipe")
    if not 0 <= token < len(tokenizer):
        raise InputError(f"the end token {token} is not one of {len(tokenizer)} tokens", remedy="correct eos_token_id in the recipe")
    return int(token)


def pad_token(tokenizer: Tokenizer) -> int:
    """The id that fills up rows; any token would do, since masks decide what counts."""
    return next((int(i) for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)


def encode_prompt(tokenizer: Tokenizer, messages: Sequence[Message], max_tokens: int) -> EncodedPrompt:
    """A prompt up to where the response begins.

    The tokenizer's chat template writes it when there is one; else the contents are joined by blank lines and end with a
    line break, behind the beginning-of-text token where the tokenizer uses one. A prompt that is too long keeps its end
    (and its beginning-of-text token).
    """
    if tokenizer.chat_template:
        ids = _encode_chat(tokenizer, messages)
    else:
        text = "\n\n".join(message["content"] for message in messages) + "\n"
        ids = [*_begin_tokens(tokenizer), *_encode_plain(tokenizer, text)]
    return EncodedPrompt(_cut_start(tokenizer, ids, max_tokens), len(ids) > max_tokens)


def encode_text(tokenizer: Tokenizer, prompt: Sequence[Message], text: str) -> list[int]:
    """A whole text as a model was trained on it: behind the prompt that it answers, with its end, or without any prompt by itself."""
    if prompt:
        return encode_prompt(tokenizer, prompt, sys.maxsize).ids + encode_response(tokenizer, text, end_token(tokenizer))
    return [*_begin_tokens(tokenizer), *_encode_plain(tokenizer, text)]


def encode_response(tokenizer: Tokenizer, text: str, eos_id: int) -> list[int]:
    """A response as tokens, with the end token behind it."""
    return [*_encode_plain(tokenizer, text), eos_id]


def encode_pair(tokenizer: Tokenizer, messages: Sequence[Message], response: str, eos_id: int, max_length: int) -> EncodedPair:
    """A prompt and a response to it, together at most `max_length` tokens.

    The prompt's start is cut first, down to a quarter of the length; then the response's end, in front of the end token.
    """
    prompt = encode_prompt(tokenizer, messages, max_length).ids
    whole = encode_response(tokenizer, response, eos_id)
    kept_prompt = _cut_start(tokenizer, prompt, max(max_length - len(whole), max_length // 4))
    room = max_length - len(kept_prompt)
    kept = whole if len(whole) <= room else [*whole[: room - 1], eos_id]
    cut = len(kept_prompt) < len(prompt) or len(prompt) == max_length
    return EncodedPair(kept_prompt + kept, len(kept), cut, len(kept) < len(whole))


def decode_response(tokenizer: Tokenizer, ids: Sequence[int], eos_id: int | None = None) -> str:
    """The text of a response, without special tokens and without the end token `eos_id` at its end."""
    content = ids[:-1] if len(ids) > 0 and ids[-1] == eos_id else ids
    text: str = tokenizer.decode(list(content), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def pad_left(sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu") -> Padded:
    """Sequences (B of them) flush right in (B, L), as prompts are padded for generation."""
    width = max(map(len, sequences))
    return _padded([[0] * (width - len(row)) + [1] * len(row) for row in sequences], sequences, pad_id, device)


def pad_right(sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu") -> Padded:
    """Sequences (B of them) flush left in (B, L), as texts are padded for scoring and training."""
    width = max(map(len, sequences))
    return _padded([[1] * len(row) + [0] * (width - len(row)) for row in sequences], sequences, pad_id, device)


def flush_left(padded: Padded) -> Padded:
    """The same sequences, each beginning in the first column."""
    order = (~padded.mask).long().argsort(dim=1, stable=True)
    return Padded(*(tensor.gather(1, order) for tensor in padded))


def _padded(mask_rows: list[list[int]], sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device | str) -> Padded:
    mask = torch.tensor(mask_rows, dtype=torch.bool)
    ids = torch.full(mask.shape, pad_id, dtype=torch.long)
    ids[mask] = torch.tensor([token for row in sequences for token in row], dtype=torch.long)
    position_ids = (mask.long().cumsum(-1) - 1).clamp(min=0) * mask
    return Padded(ids.to(device), mask.to(device), position_ids.to(device))


def _cut_start(tokenizer: Tokenizer, ids: list[int], max_tokens: int) -> list[int]:
    """The last `max_tokens` of the ids; a beginning-of-text token stays."""
    if len(ids) <= max_tokens:
        return ids
    begin = ids[:1] if ids[:1] == _begin_tokens(tokenizer) else []
    rest = max_tokens - len(begin)
    return begin + (ids[-rest:] if rest > 0 else [])


def _begin_tokens(tokenizer: Tokenizer) -> list[int]:
    """The token that the tokenizer puts in front of every text, if it does: BOS for decoders, CLS for encoders."""
    around_nothing: list[int] = tokenizer.encode("", add_special_tokens=True)
    begins = {i for i in (tokenizer.bos_token_id, tokenizer.cls_token_id) if i is not None}
    return [i for i in around_nothing[:1] if i in begins]


def _encode_plain(tokenizer: Tokenizer, text: str) -> list[int]:
    """Tokens of a text in which nothing is special."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return ids


def _encode_chat(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Tokens of the filled-in chat template: special tokens in the template count, special tokens in the messages are text.

    Special tokens in the messages are replaced before the template is filled in and found again behind it. Messages without
    any, nearly all, are encoded in one piece with their template, just as the model has seen them in training.
    """
    specials = sorted((t.content for t in tokenizer.added_tokens_decoder.values() if t.special), key=len, reverse=True)
    shields = {special: SHIELD.format(number) for number, special in enumerate(specials)}
    originals = {shield: special for special, shield in shields.items()}
    safe = [{**message, "content": _replace(message["content"], shields)} for message in messages]
    filled = tokenizer.apply_chat_template(safe, tokenize=False, add_generation_prompt=True)
    ids: list[int] = []
    for piece in re.split(f"({_any_of(originals)})", filled):
        if piece in originals:
            ids += _encode_plain(tokenizer, originals[piece])
        elif piece:
            ids += tokenizer.encode(piece, add_special_tokens=False)
    return ids


def _replace(text: str, replacements: Mapping[str, str]) -> str:
    return re.sub(_any_of(replacements), lambda match: replacements[match[0]], text)


def _any_of(texts: Mapping[str, str]) -> str:
    return "|".join(map(re.escape, texts)) or r"(?!)"

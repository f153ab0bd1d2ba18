"""What supervised fine-tuning learns from: prompts with responses as tokens, and the loss on the responses alone."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from data_contracts.errors import InputError
from models.configs import Precision
from models.job import Job
from models.language.language_model import LanguageModel, logprobs_of
from models.language.own_files import Kept, Row, held_out_prompts, keep_apart, read_rows
from models.language.text import Tokenizer, encode_prompt, encode_response, end_token, pad_right
from models.policy_configs import SFTConfig
from models.precision import computing_in
from models.randomness import generator
from models.reward.preference_data import FILE_NAME, read_preferences


class Example(NamedTuple):
    """A prompt with a response to it, as tokens; the response ends with the end token."""

    prompt: list[int]
    response: list[int]

    @property
    def length(self) -> int:
        """Tokens of both."""
        return len(self.prompt) + len(self.response)


class Examples(NamedTuple):
    """The examples of a job, and what was left out."""

    train: list[Example]
    held_out: list[Example]
    """Of other prompts: their loss chooses the step."""
    left_out: dict[str, int]
    """Rows that are not among them, by reason."""


def load_examples(job: Job[SFTConfig], tokenizer: Tokenizer) -> Examples:
    """The examples of the demonstrations, or of the chosen responses of the preferences' train split, with a share of prompts kept aside.

    Raises:
        InputError: there are too few to keep any aside.
    """
    config = job.config
    kept = _rows(job)
    eos_id = end_token(tokenizer, config.eos_token_id)
    encoded = [(row.messages, _encode(row, tokenizer, eos_id)) for row in kept.rows]
    fits = [
        (str(messages), example)
        for messages, example in encoded
        if len(example.prompt) <= config.max_prompt_tokens and len(example.response) <= config.max_response_tokens
    ]
    prompts = sorted({prompt for prompt, _ in fits})
    if len(prompts) < 2:
        raise InputError(
            f"{len(fits)} demonstrations of {len(prompts)} prompts are too few to keep one aside",
            where="sft",
            remedy="bring more, or raise sft.max_prompt_tokens or sft.max_response_tokens in the recipe",
        )
    order = generator(config.seed, "sft", "held_out").permutation(len(prompts))
    aside = {prompts[i] for i in order[: max(1, round(config.held_out * len(prompts)))]}
    left_out = {"too_long": len(encoded) - len(fits), "repeated": kept.repeated, "in_held_out_splits": kept.held_out}
    train, held_out = ([example for prompt, example in fits if (prompt in aside) == is_aside] for is_aside in (False, True))
    return Examples(train, held_out, left_out)


def _rows(job: Job[SFTConfig]) -> Kept:
    if "demonstrations" in job.inputs:
        held_out = held_out_prompts(job.input("preferences", "prompts.parquet"))
        return keep_apart(read_rows(job.input("demonstrations"), responses=True), held_out)
    chosen = read_preferences(job.input("preferences", FILE_NAME))
    return keep_apart([Row(row["prompt"], row["chosen"]) for row in chosen if row["split"] == "train" and row["weight"] > 0], [])


def _encode(row: Row, tokenizer: Tokenizer, eos_id: int) -> Example:
    whole = 1 << 30  # what is too long is left out, not cut: a response without its end would teach not to end
    return Example(encode_prompt(tokenizer, row.messages, whole).ids, encode_response(tokenizer, row.response, eos_id))


def response_loss(model: LanguageModel, examples: Sequence[Example], pad_id: int, precision: Precision = "float32") -> Tensor:
    """Σ −logprob () over the examples' response tokens, given prompt and response so far; with gradients.

    Padding stands at the end, where a causal model's tokens do not see it; no logits are computed in front of the first response.
    """
    padded = pad_right([[*example.prompt, *example.response] for example in examples], pad_id, model.device)
    first, length = min(len(example.prompt) for example in examples), padded.ids.shape[1]
    starts = torch.tensor([len(example.prompt) for example in examples], device=model.device)
    counts = padded.mask & (torch.arange(length, device=model.device) >= starts[:, None])
    with computing_in(precision, model.device):
        logits = model(input_ids=padded.ids, logits_to_keep=length - first + 1, use_cache=False).logits[:, :-1].float()
    return -logprobs_of(logits, padded.ids[:, first:]).masked_fill(~counts[:, first:], 0.0).sum()

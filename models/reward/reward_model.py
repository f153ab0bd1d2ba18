"""The reward model: any transformers backbone with a scalar head, and the one definition of a response's score.

A decoder is read at the last token of the response (its end token), an encoder by the mean over all tokens. There are one or
more heads, the members of an ensemble. A member's score is `gain · head(hidden state) + bias`, with gain and bias set after
training so that each member's scores of reference responses have mean 0 and variance 1; what combines them to one score is
stored with the model. The reward model keeps its own tokenizer and end token: the policy's may be others.

Shapes: B responses, L tokens, K members.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from data_contracts.errors import InputError
from models.batching import token_batches
from models.configs import Combination
from models.language.language_model import context_length, load_pretrained
from models.language.text import (
    EncodedPair,
    Message,
    Padded,
    Tokenizer,
    encode_pair,
    end_token,
    flush_left,
    load_tokenizer,
    pad_right,
    pad_token,
)
from models.reward.ensemble import Scored, combine, disagreement

HEAD_NAME, SETTINGS_NAME = "head.safetensors", "reward_model.json"
MICROBATCH_TOKENS = 16384
"""Most padded tokens in one forward pass of scoring."""


LEAST_SPREAD = 1e-6
"""Standard deviation of the scores below which they are not scaled: a model that says the same of everything is not blown up."""


class RewardSettings(NamedTuple):
    """What a reward model is saved with, beside its weights."""

    eos_id: int
    max_length: int
    """Longest prompt with response, in tokens; see `models.language.text.encode_pair` for what is cut."""
    pooling: str
    """`last` for decoders, `mean` for encoders."""
    members: int = 1
    combination: Combination = "mean"
    uncertainty_coef: float = 0.0
    """See `models.reward.ensemble.combine`."""


class RewardModel(nn.Module):
    """A scalar per prompt and response."""

    gain: Tensor
    bias: Tensor

    def __init__(self, backbone: Any, tokenizer: Tokenizer, settings: RewardSettings) -> None:
        super().__init__()
        width = backbone.config.hidden_size
        self.backbone, self.tokenizer, self.settings = backbone, tokenizer, settings
        self.head = nn.Linear(width, settings.members)
        nn.init.normal_(self.head.weight, std=1 / math.sqrt(width + 1))
        nn.init.zeros_(self.head.bias)
        self.register_buffer("gain", torch.ones(settings.members))
        self.register_buffer("bias", torch.zeros(settings.members))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.weight.device

    def encode(self, prompt: Sequence[Message], response: str) -> EncodedPair:
        """A prompt with a response as this model's tokens."""
        return encode_pair(self.tokenizer, prompt, response, self.settings.eos_id, self.settings.max_length)

    def score(self, prompts: Sequence[Sequence[Message]], responses: Sequence[str]) -> Scored:
        """Scores of B responses with their disagreement, on the CPU, without gradients: the one score of training, PPO and evaluation."""
        members = self.score_encoded([self.encode(*pair).ids for pair in zip(prompts, responses, strict=True)])
        return Scored(self.combine(members), disagreement(members))

    @torch.no_grad()
    def score_encoded(self, sequences: Sequence[Sequence[int]], microbatch_tokens: int = MICROBATCH_TOKENS) -> Tensor:
        """Members' scores (B, K) of any number of sequences, on the CPU, without gradients, in batches of similar length."""
        was_training = self.training
        self.eval()
        scores = torch.zeros(len(sequences), self.settings.members, dtype=self.head.weight.dtype)
        for rows in token_batches([len(sequence) for sequence in sequences], microbatch_tokens):
            scores[rows] = self.score_tokens([sequences[i] for i in rows]).cpu()
        self.train(was_training)
        return scores

    def score_tokens(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Members' scores (B, K) of B encoded sequences in one forward pass, with gradients: what training calls."""
        return self.score_padded(pad_right(sequences, pad_token(self.tokenizer), self.device))

    def score_padded(self, padded: Padded) -> Tensor:
        """Members' scores (B, K) of padded sequences (B, L), with gradients; padding on either side, and however much, changes nothing."""
        if self.settings.pooling == "mean":  # an encoder may count positions from the first column, so its rows begin there
            padded = flush_left(padded)
        hidden = self.hidden_states(padded)
        if self.settings.pooling == "mean":
            weights = padded.mask[..., None].to(hidden)
            return self.member_scores((hidden * weights).sum(1) / weights.sum(1))
        columns = torch.arange(hidden.shape[1], device=hidden.device)
        return self.member_scores(hidden[torch.arange(len(hidden), device=hidden.device), (columns * padded.mask).amax(1)])

    def hidden_states(self, padded: Padded) -> Tensor:
        """The backbone's last hidden states (B, L, width), in the head's type; a decoder's are the same behind padding on either side."""
        is_whole = bool(padded.mask.all())
        arguments: dict[str, Any] = {} if is_whole else {"attention_mask": padded.mask.long()}
        if self.settings.pooling == "last":  # encoders count positions in ways of their own, decoders as everyone
            arguments |= {"use_cache": False} if is_whole else {"use_cache": False, "position_ids": padded.position_ids}
        hidden: Tensor = self.backbone(input_ids=padded.ids, **arguments).last_hidden_state
        return hidden.to(self.head.weight.dtype)

    def member_scores(self, hidden: Tensor) -> Tensor:
        """What hidden states (…, width) score with each member, (…, K)."""
        scores: Tensor = self.gain * self.head(hidden) + self.bias
        return scores

    def combine(self, member_scores: Tensor) -> Tensor:
        """The one score (…) of members' scores (…, K), as the settings say."""
        return combine(member_scores, self.settings.combination, self.settings.uncertainty_coef)

    def scalar(self, hidden: Tensor) -> Tensor:
        """The score that a hidden state stands for, (…, width) to (…); a value model starts from this at every token."""
        return self.combine(self.member_scores(hidden))

    def normalise(self, member_scores: Tensor) -> None:
        """Shift and scale each member so that responses with these scores (B, K) come to have mean 0 and standard deviation 1."""
        values = member_scores.double()
        spread = values.std(0, correction=0)
        gain = torch.where(spread > LEAST_SPREAD, 1 / spread, torch.ones_like(spread))
        self.bias.copy_((self.bias.double().cpu() - values.mean(0)) * gain)
        self.gain.mul_(gain.to(self.gain))

    def save(self, directory: Path) -> None:
        """Write backbone and tokenizer as transformers do, and beside them the head, gain, bias and settings."""
        self.backbone.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        tensors = {"weight": self.head.weight, "head_bias": self.head.bias, "gain": self.gain, "bias": self.bias}
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, directory / HEAD_NAME)
        (directory / SETTINGS_NAME).write_text(json.dumps(self.settings._asdict(), sort_keys=True) + "\n")


def new_reward_model(
    directory: Path,
    max_length: int,
    *,
    members: int = 1,
    combination: Combination = "mean",
    uncertainty_coef: float = 0.0,
    eos_token_id: int | None = None,
) -> RewardModel:
    """A reward model with new heads (from torch's global generator) on the model in a directory.

    `max_length` is lowered to the backbone's context; `eos_token_id` stands in for the tokenizer's own end token.

    Raises:
        InputError: the directory holds no decoder or encoder, or not all of its weights, or weights that are not finite, or a
            tokenizer of another model.
    """
    backbone, tokenizer = _load_parts(directory)
    if backbone.config.is_encoder_decoder:
        raise InputError("a reward model's backbone is a decoder or an encoder, not both", where=str(directory), remedy="take another one")
    is_encoder = backbone.config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(backbone.config, "is_decoder", False)
    context = context_length(backbone.config)
    length = min(max_length, context) if context else max_length
    pooling = "mean" if is_encoder else "last"
    eos_id = end_token(tokenizer, eos_token_id)
    return RewardModel(backbone, tokenizer, RewardSettings(eos_id, length, pooling, members, combination, uncertainty_coef))


def load_reward_model(directory: Path, device: torch.device | str = "cpu") -> RewardModel:
    """The reward model that `RewardModel.save` wrote."""
    try:
        settings = RewardSettings(**json.loads((directory / SETTINGS_NAME).read_text()))
        head = load_file(directory / HEAD_NAME)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise InputError(
            "no reward model can be read", where=str(directory), remedy="give the model directory of a reward model"
        ) from error
    model = RewardModel(*_load_parts(directory), settings)
    with torch.no_grad():
        model.head.weight.copy_(head["weight"])
        model.head.bias.copy_(head["head_bias"])
        model.gain.copy_(head["gain"])
        model.bias.copy_(head["bias"])
    _check_finite([model.head.weight, model.head.bias, model.gain, model.bias], "the head", directory)
    return model.to(device).eval()


def _load_parts(directory: Path) -> tuple[Any, Tokenizer]:
    """Backbone and tokenizer of a directory, which must fit together, and hold numbers."""
    backbone, tokenizer = load_pretrained(AutoModel, directory), load_tokenizer(directory)
    known = backbone.get_input_embeddings().num_embeddings
    if len(tokenizer) > known:
        raise InputError(
            f"the tokenizer has {len(tokenizer)} tokens and the model knows {known}",
            where=str(directory),
            remedy="take the model's own tokenizer, or resize the model's embeddings",
        )
    _check_finite(backbone.parameters(), "the backbone", directory)
    return backbone, tokenizer


def _check_finite(tensors: Iterable[Tensor], what: str, directory: Path) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise InputError(f"{what} has weights that are not finite", where=str(directory), remedy="take another model, or train it again")

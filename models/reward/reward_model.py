"""The reward model: any transformers backbone with a scalar head, or several such models that score as one.

A decoder is read at the last token of the response (its end token), an encoder by the mean over all tokens. There are one or
more heads, the members of an ensemble; or each member is a model of its own. A member's score is `gain · head(hidden state) +
bias`, with gain and bias set after training so that each member's scores of reference responses have mean 0 and variance 1;
what combines them to one score is stored with the model. The reward model keeps its own tokenizer and end token: the policy's
may be others.

Shapes: B responses, L tokens, K members.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from data_contracts.errors import InputError
from models.configs import Combination, Precision
from models.language.language_model import context_length, load_pretrained
from models.language.text import Padded, Tokenizer, end_token, flush_left, load_tokenizer
from models.precision import computing_in
from models.reward.prefix_sharing import Packed, can_share
from models.reward.scoring import RewardSettings, Scoring

HEAD_NAME, SETTINGS_NAME = "head.safetensors", "reward_model.json"
POOLER = "pooler."
"""Beginning of the names of what some encoders put behind the last hidden states; no score passes through it."""
LEAST_SPREAD = 1e-6
"""Standard deviation of the scores below which they are not scaled: a model that says the same of everything is not blown up."""


class RewardModel(Scoring):
    """A scalar per prompt and response, from one backbone with a head for every member."""

    gain: Tensor
    bias: Tensor
    learns_in: Precision = "float32"
    """What the backbone computes in where it learns; what is scored with is float32 in any case."""

    def __init__(self, backbone: Any, tokenizer: Tokenizer, settings: RewardSettings) -> None:
        super().__init__(tokenizer, settings)
        width = backbone.config.hidden_size
        self.backbone = backbone
        self.head = nn.Linear(width, settings.members)
        nn.init.normal_(self.head.weight, std=1 / math.sqrt(width + 1))
        nn.init.zeros_(self.head.bias)
        self.register_buffer("gain", torch.ones(settings.members))
        self.register_buffer("bias", torch.zeros(settings.members))

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

    @property
    def shares_prefixes(self) -> bool:
        """Whether the backbone is a decoder that takes any mask."""
        return self.settings.pooling == "last" and can_share(self.backbone)

    def score_packed(self, packed: Packed) -> Tensor:
        """Members' scores (N, K) of sequences in rows that share beginnings, with gradients."""
        arguments = {"attention_mask": packed.attention_mask, "position_ids": packed.position_ids, "use_cache": False}
        hidden = self._read(packed.ids, arguments)
        return self.member_scores(hidden[packed.rows, packed.columns].to(self.dtype))

    def hidden_states(self, padded: Padded) -> Tensor:
        """The backbone's last hidden states (B, L, width), in the head's type; a decoder's are the same behind padding on either side."""
        is_whole = bool(padded.mask.all())
        arguments: dict[str, Any] = {} if is_whole else {"attention_mask": padded.mask.long()}
        if self.settings.pooling == "last":  # encoders count positions in ways of their own, decoders as everyone
            arguments |= {"use_cache": False} if is_whole else {"use_cache": False, "position_ids": padded.position_ids}
        return self._read(padded.ids, arguments).to(self.dtype)

    def _read(self, ids: Tensor, arguments: dict[str, Any]) -> Tensor:
        """The backbone's last hidden states (B, L, width) of tokens (B, L)."""
        with computing_in(self.learns_in if self.training else "float32", self.device):
            hidden: Tensor = self.backbone(input_ids=ids, **arguments).last_hidden_state
        return hidden

    def member_scores(self, hidden: Tensor) -> Tensor:
        """What hidden states (…, width) score with each member, (…, K)."""
        with torch.autocast(self.device.type, enabled=False):  # also where a value model computes in bfloat16
            scores: Tensor = self.gain * self.head(hidden) + self.bias
        return scores

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

    def normalised(self, member_scores: Tensor) -> Tensor:
        """What scores (…, K) on the CPU from before `normalise` have become."""
        return self.gain.cpu().double() * member_scores + self.bias.cpu().double()

    def save(self, directory: Path) -> None:
        """Write backbone and tokenizer as transformers do, and beside them the head, gain, bias and settings."""
        self.backbone.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        tensors = {"weight": self.head.weight, "head_bias": self.head.bias, "gain": self.gain, "bias": self.bias}
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, directory / HEAD_NAME)
        _write_settings(self.settings, directory)


class FullEnsemble(Scoring):
    """An ensemble whose members are reward models with a backbone and one head each."""

    def __init__(self, models: Sequence[RewardModel], settings: RewardSettings) -> None:
        """The models in the order of the members; all have the tokenizer, end and length of the settings."""
        super().__init__(models[0].tokenizer, settings)
        self.models = nn.ModuleList(models)

    @property
    def members(self) -> list[RewardModel]:
        """The models."""
        return [model for model in self.models if isinstance(model, RewardModel)]

    def score_padded(self, padded: Padded) -> Tensor:
        """Members' scores (B, K) of padded sequences (B, L), with gradients."""
        return torch.cat([model.score_padded(padded) for model in self.members], -1)

    @property
    def shares_prefixes(self) -> bool:
        """Whether all members do."""
        return all(model.shares_prefixes for model in self.members)

    def score_packed(self, packed: Packed) -> Tensor:
        """Members' scores (N, K) of sequences in rows that share beginnings, with gradients."""
        return torch.cat([model.score_packed(packed) for model in self.members], -1)

    def normalise(self, member_scores: Tensor) -> None:
        """Shift and scale each member so that responses with these scores (B, K) come to have mean 0 and standard deviation 1."""
        for model, scores in zip(self.members, torch.split(member_scores, 1, -1), strict=True):
            model.normalise(scores)

    def normalised(self, member_scores: Tensor) -> Tensor:
        """What scores (…, K) on the CPU from before `normalise` have become."""
        pairs = zip(self.members, torch.split(member_scores, 1, -1), strict=True)
        return torch.cat([model.normalised(scores) for model, scores in pairs], -1)

    def save(self, directory: Path) -> None:
        """Write each member as a reward model in a folder of its own, and the settings beside them."""
        for number, model in enumerate(self.members):
            model.save(_member_folder(directory, number))
        _write_settings(self.settings, directory)


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


def load_reward_model(directory: Path, device: torch.device | str = "cpu") -> RewardModel | FullEnsemble:
    """The reward model that `save` wrote: one, or an ensemble of several."""
    settings = _read_settings(directory)
    if not _member_folder(directory, 0).exists():
        return _load_one(directory, settings).to(device).eval()
    folders = [_member_folder(directory, number) for number in range(settings.members)]
    return FullEnsemble([_load_one(folder, _read_settings(folder)) for folder in folders], settings).to(device).eval()


def _load_one(directory: Path, settings: RewardSettings) -> RewardModel:
    try:
        head = load_file(directory / HEAD_NAME)
    except (OSError, SafetensorError) as error:
        raise _unreadable(directory) from error
    model = RewardModel(*_load_parts(directory), settings)
    with torch.no_grad():
        model.head.weight.copy_(head["weight"])
        model.head.bias.copy_(head["head_bias"])
        model.gain.copy_(head["gain"])
        model.bias.copy_(head["bias"])
    _check_finite([model.head.weight, model.head.bias, model.gain, model.bias], "the head", directory)
    return model


def _member_folder(directory: Path, number: int) -> Path:
    return directory / f"member-{number}"


def _write_settings(settings: RewardSettings, directory: Path) -> None:
    (directory / SETTINGS_NAME).write_text(json.dumps(settings._asdict(), sort_keys=True) + "\n")


def _read_settings(directory: Path) -> RewardSettings:
    try:
        return RewardSettings(**json.loads((directory / SETTINGS_NAME).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(directory) from error


def _unreadable(directory: Path) -> InputError:
    return InputError("no reward model can be read", where=str(directory), remedy="give the model directory of a reward model")


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
    for name, parameter in backbone.named_parameters():
        if name.startswith(POOLER):
            parameter.requires_grad_(False)
    return backbone, tokenizer


def _check_finite(tensors: Iterable[Tensor], what: str, directory: Path) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise InputError(f"{what} has weights that are not finite", where=str(directory), remedy="take another model, or train it again")

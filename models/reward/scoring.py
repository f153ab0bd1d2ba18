"""The one definition of a response's score, whatever it is computed by: used by training, PPO and evaluation.

Shapes: B responses, L tokens, K members.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.batching import token_batches
from models.configs import Combination
from models.language.text import EncodedPair, Message, Padded, Tokenizer, encode_pair, pad_right, pad_token
from models.reward.ensemble import Scored, combine, disagreement

MICROBATCH_TOKENS = 16384
"""Most padded tokens in one forward pass of scoring."""


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


class Scoring(nn.Module, ABC):
    """What scores responses: members' scores of tokens, and what is made of them."""

    def __init__(self, tokenizer: Tokenizer, settings: RewardSettings) -> None:
        super().__init__()
        self.tokenizer, self.settings = tokenizer, settings

    @property
    def device(self) -> torch.device:
        """Where the weights are: where the first member's gain is, the first of all buffers."""
        return next(self.buffers()).device

    @property
    def dtype(self) -> torch.dtype:
        """What scores are computed in, from the last hidden states on."""
        return next(self.buffers()).dtype

    @abstractmethod
    def score_padded(self, padded: Padded) -> Tensor:
        """Members' scores (B, K) of padded sequences (B, L), with gradients; padding on either side, and however much, changes nothing."""

    @abstractmethod
    def normalise(self, member_scores: Tensor) -> None:
        """Shift and scale each member so that responses with these scores (B, K) come to have mean 0 and standard deviation 1."""

    @abstractmethod
    def normalised(self, member_scores: Tensor) -> Tensor:
        """What scores (…, K) on the CPU from before `normalise` have become."""

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write it so that `load_reward_model` reads it; the same model gives the same bytes."""

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
        scores = torch.zeros(len(sequences), self.settings.members, dtype=self.dtype)
        for rows in token_batches([len(sequence) for sequence in sequences], microbatch_tokens):
            scores[rows] = self.score_tokens([sequences[i] for i in rows]).cpu()
        self.train(was_training)
        return scores

    def score_tokens(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Members' scores (B, K) of B encoded sequences in one forward pass, with gradients: what training calls."""
        return self.score_padded(pad_right(sequences, pad_token(self.tokenizer), self.device))

    def combine(self, member_scores: Tensor) -> Tensor:
        """The one score (…) of members' scores (…, K), as the settings say."""
        return combine(member_scores, self.settings.combination, self.settings.uncertainty_coef)

"""The one definition of a response's score, whatever it is computed by: used by training, PPO and evaluation.

Shapes: B responses, L tokens, K members.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from data_contracts.texts import Message
from models.batching import CPU_PASS_TOKENS, token_batches
from models.configs import Combination
from models.language.text import EncodedPair, Padded, Tokenizer, encode_pair, pad_right, pad_token
from models.reward.ensemble import Scored, combine, disagreement
from models.reward.prefix_sharing import Packed, Row, pack, shared_rows

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
    def score_packed(self, packed: Packed) -> Tensor:
        """Members' scores (N, K) of sequences in rows that share beginnings, with gradients; asked for where it `shares_prefixes`."""

    @property
    @abstractmethod
    def shares_prefixes(self) -> bool:
        """Whether sequences that begin alike can be read in one row."""

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
        return Scored(self.combine(members), disagreement(members), members=members)

    @torch.no_grad()
    def score_encoded(self, sequences: Sequence[Sequence[int]], microbatch_tokens: int = MICROBATCH_TOKENS) -> Tensor:
        """Members' scores (B, K) of any number of sequences, on the CPU, without gradients, in batches of similar length."""
        was_training = self.training
        self.eval()
        scores = torch.zeros(len(sequences), self.settings.members, dtype=self.dtype)
        for rows in self._passes(sequences, microbatch_tokens):
            scores[[place for row in rows for place in row.places]] = self._score_rows(rows, sequences).cpu()
        self.train(was_training)
        return scores

    def score_tokens(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Members' scores (B, K) of B encoded sequences, with gradients: what training calls."""
        passes = self._passes(sequences, sum(map(len, sequences)))
        scores = torch.cat([self._score_rows(rows, sequences) for rows in passes])
        places = torch.tensor([place for rows in passes for row in rows for place in row.places])
        return scores[places.argsort().to(scores.device)]

    def _passes(self, sequences: Sequence[Sequence[int]], most_tokens: int) -> list[list[Row]]:
        """The sequences in rows, those with common beginnings in one where that can be, and the rows in passes of similar length."""
        alone = [Row([place], len(own), len(own)) for place, own in enumerate(sequences)]
        rows = shared_rows(sequences) if self.shares_prefixes else alone
        budget = min(most_tokens, CPU_PASS_TOKENS) if self.device.type == "cpu" else most_tokens
        return [[rows[i] for i in batch] for batch in token_batches([row.length for row in rows], budget)]

    def _score_rows(self, rows: Sequence[Row], sequences: Sequence[Sequence[int]]) -> Tensor:
        """Members' scores (B, K) of the rows' B sequences in one pass, in the rows' order."""
        pad_id = pad_token(self.tokenizer)
        if all(len(row.places) == 1 for row in rows):
            return self.score_padded(pad_right([sequences[row.places[0]] for row in rows], pad_id, self.device))
        return self.score_packed(pack(rows, sequences, pad_id, torch.zeros((), dtype=self.dtype, device=self.device)))

    def combine(self, member_scores: Tensor) -> Tensor:
        """The one score (…) of members' scores (…, K), as the settings say."""
        return combine(member_scores, self.settings.combination, self.settings.uncertainty_coef)

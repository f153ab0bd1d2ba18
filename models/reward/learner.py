"""What a reward model learns by: its likelihood, labels and weights, and the gradient of a batch.

A margin is a score difference that is asked for before the likelihood sees any (Touvron et al., 2023), in proportion to the
mean strength of the preference and in its direction. Margins and smoothing shape training only: what is measured is plain.

A length term explains verdicts by the difference in length beside that in score, so that the score need not; what is said of
a response is the score alone. It starts as all that length alone can explain.

Shapes: B pairs, K members of the ensemble.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from data_contracts.errors import InputError
from models.batching import token_batches
from models.configs import RewardModelConfig
from models.processes import own_share, sum_gradients, total
from models.reward.ensemble import resample_weights
from models.reward.evaluation.baselines import fit_length_only, length_differences
from models.reward.likelihoods import initial_tie, log_probabilities, negative_log_likelihood, outcome_shares, preference_log_odds
from models.reward.preference_data import FILE_NAME, Group, Preference, distinct_sequences
from models.reward.scoring import Scoring


class Columns(NamedTuple):
    """B pairs as tensors, each (B,)."""

    probability: Tensor
    tie_probability: Tensor
    weight: Tensor
    strength: Tensor
    """0 where it is not known."""


class Learner(nn.Module):
    """A reward model with what its likelihood learns beside it, which is no part of the score."""

    tie: nn.Parameter | None
    length: nn.Parameter | None
    """Log-odds (K,) per `length_scale` tokens by which `chosen` is longer."""

    def __init__(
        self, model: Scoring, config: RewardModelConfig, pairs: Sequence[Preference], resample: Mapping[str, list[float]] | None = None
    ) -> None:
        """A learner at its first step, before the pairs that it is going to learn from.

        `resample` says how often each member drew each prompt; by default, the members draw here.
        """
        super().__init__()
        self.model, self.config = model, config
        self.resample = resample or resample_weights([pair.prompt_id for pair in pairs], config.members, config.seed)
        if config.margin_per_strength and all(pair.strength is None for pair in pairs):
            raise InputError(
                "margin_per_strength asks for strengths, and no preference has one",
                where=FILE_NAME,
                remedy="set margin_per_strength = 0, or bring judgments with a preference_strength",
            )
        ties = sum(pair.weight * pair.tie_probability for pair in pairs) / sum(pair.weight for pair in pairs)
        start = None if config.likelihood == "bradley_terry" else torch.full((config.members,), initial_tie(config.likelihood, ties))
        self.register_parameter("tie", None if start is None else nn.Parameter(start))
        self.length_scale = math.sqrt(float((length_differences(pairs) ** 2).mean())) or 1.0
        slope = fit_length_only(pairs).slope * self.length_scale
        self.register_parameter("length", nn.Parameter(torch.full((config.members,), slope)) if config.length_term else None)

    @property
    def beside_the_score(self) -> dict[str, nn.Parameter]:
        """What is learned beside the score, by name."""
        named = {"tie": self.tie, "length": self.length}
        return {name: parameter for name, parameter in named.items() if parameter is not None}

    def training_loss(self, pairs: Sequence[Preference], differences: Tensor) -> Tensor:
        """Weighted sum () of the pairs' losses at score differences (B, K), the mean over members; with smoothing and margins.

        Each member weights prompts as it drew them. The sum of a batch is not divided by a member's own weight in it, so that over
        the batches every judgment that a member drew counts the same.
        """
        config, columns = self.config, columns_of(pairs, differences)
        shares = outcome_shares(config.likelihood, config.labels, columns.probability, columns.tie_probability, config.label_smoothing)
        margins = config.margin_per_strength * columns.strength[:, None]
        losses = negative_log_likelihood(shares[..., None], self._log_probabilities(self._with_length(pairs, differences) - margins))
        weights = columns.weight if config.weighting == "preferences" else torch.ones_like(columns.weight)
        drawn = torch.tensor([self.resample[pair.prompt_id] for pair in pairs]).to(differences)
        return (weights[:, None] * drawn * losses).sum() / config.members

    @torch.no_grad()
    def mean_loss(self, pairs: Sequence[Preference], differences: Tensor) -> float:
        """Weighted mean over pairs and members of −ln P(what annotators said): nothing smoothed, no margin, labels as they are."""
        columns = columns_of(pairs, differences)
        shares = outcome_shares(self.config.likelihood, "soft", columns.probability, columns.tie_probability)
        losses = negative_log_likelihood(shares[..., None], self._log_probabilities(self._with_length(pairs, differences))).mean(1)
        return float((columns.weight * losses).sum() / columns.weight.sum())

    @torch.no_grad()
    def log_odds(self, differences: Tensor) -> Tensor:
        """Log-odds (B,) that an annotator prefers `chosen`, by score differences (B, K) alone."""
        return preference_log_odds(self._log_probabilities(differences))

    def _with_length(self, pairs: Sequence[Preference], differences: Tensor) -> Tensor:
        """Score differences (B, K) with what the difference in length adds to them."""
        if self.length is None:
            return differences
        lengths = torch.from_numpy(length_differences(pairs) / self.length_scale).to(differences)
        return differences + self.length.to(differences) * lengths[:, None]

    def _log_probabilities(self, differences: Tensor) -> Tensor:
        """Log-probabilities (O, B, K) of the outcomes at score differences (B, K)."""
        return log_probabilities(self.config.likelihood, differences, None if self.tie is None else self.tie.to(differences))

    def total_weight(self, pairs: Sequence[Preference]) -> float:
        """What a sum of losses is divided by to be a mean."""
        return sum(pair.weight for pair in pairs) if self.config.weighting == "preferences" else float(len(pairs))


def columns_of(pairs: Sequence[Preference], like: Tensor) -> Columns:
    """Pairs as tensors of another tensor's type and place."""
    rows = [(pair.probability, pair.tie_probability, pair.weight, pair.strength or 0.0) for pair in pairs]
    return Columns(*torch.tensor(rows, dtype=like.dtype, device=like.device).unbind(1))


def differences_of(model: Scoring, pairs: Sequence[Preference]) -> Tensor:
    """Score differences (B, K) of pairs, with every different sequence encoded once."""
    sequences, chosen, rejected = distinct_sequences(pairs)
    scores = model.score_tokens(sequences)
    return scores[chosen] - scores[rejected]


def accumulate_gradients(learner: Learner, accelerator: Accelerator, groups: Sequence[Group], microbatch_tokens: int) -> dict[str, float]:
    """Add the gradient of the groups' weighted mean loss, in forward passes of at most so many tokens; their loss and accuracy.

    A group is never divided, so one of very many responses can be larger than the budget. Processes that train together share
    the groups out and come to the same gradient, loss and accuracy.
    """
    count = sum(len(group.pairs) for group in groups)
    total_weight = learner.total_weight([pair for group in groups for pair in group.pairs])
    loss, right, own = 0.0, 0.0, own_share(groups, accelerator)
    for rows in token_batches([g.length for g in own], microbatch_tokens, [g.n_sequences for g in own]):
        pairs = [pair for i in rows for pair in own[i].pairs]
        differences = differences_of(learner.model, pairs)
        part = learner.training_loss(pairs, differences) / total_weight
        accelerator.backward(part)
        loss += part.item()
        right += ((differences.detach().mean(1).sign() + 1) / 2).sum().item()
    sum_gradients(learner.parameters(), accelerator)
    loss, right = total(torch.tensor([loss, right], dtype=torch.float64), accelerator).tolist()
    return {"loss": loss, "accuracy": right / count}

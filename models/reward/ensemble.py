"""Ensembles of reward models: heads on one backbone, each fitted to its own resample of the prompts, and one score from all.

Shapes: K members, B responses, … any shape.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from data_contracts.errors import InputError
from models.configs import Combination
from models.randomness import generator


class Scored(NamedTuple):
    """Scores of B responses, each (B,)."""

    score: Tensor
    disagreement: Tensor
    """Standard deviation of the score between the members; 0 where there is one."""
    terms: Mapping[str, Tensor] = MappingProxyType({})
    """The parts that the score is the sum of, by name; none where it is of one piece."""
    members: Tensor | None = None
    """What each of K members scores, (B, K); None where there is no ensemble behind it, but a function."""


def combine(member_scores: Tensor, combination: Combination, uncertainty_coef: float) -> Tensor:
    """The one score (…) that the members' scores (…, K) give.

    `mean`, `worst_case` (the lowest member's) and `uncertainty_weighted` (mean − uncertainty_coef · variance, the variance being the
    mean squared distance from the mean) are those of Coste et al. (2023).
    """
    if combination == "worst_case":
        return member_scores.amin(-1)
    mean = member_scores.mean(-1)
    return mean if combination == "mean" else mean - uncertainty_coef * member_scores.var(-1, correction=0)


def disagreement(member_scores: Tensor) -> Tensor:
    """Standard deviation (…) between the members' scores (…, K)."""
    return member_scores.std(-1, correction=0)


def resample_weights(prompt_ids: Sequence[str], members: int, seed: int) -> Mapping[str, list[float]]:
    """How often each member draws each prompt: a bootstrap by prompt, K weights for each id; of one member, once.

    Weights are Poisson variables of mean 1 (Oza and Russell, 2001), functions of seed and id alone, so that a prompt that is
    added changes nobody else's.

    Raises:
        InputError: a member drew no prompt at all.
    """
    distinct = sorted(set(prompt_ids))
    if members == 1:
        return {prompt_id: [1.0] for prompt_id in distinct}
    weights = {prompt_id: generator(seed, "ensemble", prompt_id).poisson(1.0, members).astype(float).tolist() for prompt_id in distinct}
    if not all(map(any, zip(*weights.values(), strict=True))):
        raise InputError(
            f"{len(distinct)} prompts are too few for {members} resamples of them: a member has none",
            remedy="lower the members of the ensemble, or bring judgments of more prompts",
        )
    return weights

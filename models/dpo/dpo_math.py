"""The mathematics of direct preference optimisation: pure functions on tensors of B pairs, each (B,).

After Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward Model" (arXiv:2305.18290). A policy
that is best for a reward under a price `beta` of KL has reward = beta · ln(policy / reference) + something of the prompt's alone, so that
the Bradley-Terry likelihood of preferences can be written in the policy's own logprobs.
"""

from typing import NamedTuple

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


class PairLogprobs(NamedTuple):
    """Log-probabilities (B,) of whole responses, under one model."""

    chosen: Tensor
    rejected: Tensor


def implicit_rewards(policy: PairLogprobs, reference: PairLogprobs, beta: float) -> PairLogprobs:
    """beta · ln(policy / reference) of both responses: what the policy would have to be rewarded with to be best as it is."""
    return PairLogprobs(beta * (policy.chosen - reference.chosen), beta * (policy.rejected - reference.rejected))


def dpo_losses(margins: Tensor, probabilities: Tensor) -> Tensor:
    """−p · ln σ(m) − (1 − p) · ln σ(−m) of margins m between the implicit rewards of `chosen` and `rejected`.

    p is the probability that `chosen` is preferred: 1 gives the published loss, less the one for noisy labels (Mitchell, 2023), of
    which the smallest value stands at m = ln(p / (1 − p)).
    """
    return -(probabilities * F.logsigmoid(margins) + (1 - probabilities) * F.logsigmoid(-margins))

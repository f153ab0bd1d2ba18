"""Advantages without a value model, for PPO's relatives: every token of a response gets what the response as a whole was worth.

Shapes: B responses in groups of k to the same prompt, which stand together: rows 0 to k − 1 are the first group.
"""

from torch import Tensor

GROUP_EPSILON = 1e-4
"""Added to a group's standard deviation, so that scores which hardly differ are not blown up."""


def less_batch_mean(returns: Tensor) -> Tensor:
    """REINFORCE with a baseline (Williams, 1992): returns (B,) less their mean.

    The mean has the response's own return in it, which only scales the gradient, by 1 − 1/B.
    """
    return returns - returns.mean()


def leave_one_out(returns: Tensor, group_size: int) -> Tensor:
    """RLOO: each of the returns (B,) less the mean of the others of its group (Kool et al., 2019; Ahmadian et al., arXiv:2402.14740)."""
    groups = returns.view(-1, group_size)
    others = (groups.sum(1, keepdim=True) - groups) / (group_size - 1)
    return (groups - others).flatten()


def group_normalised(scores: Tensor, group_size: int) -> Tensor:
    """GRPO: scores (B,) less their group's mean, by its standard deviation, the population's (Shao et al., arXiv:2402.03300)."""
    groups = scores.view(-1, group_size)
    spread = groups.std(1, correction=0, keepdim=True)
    return ((groups - groups.mean(1, keepdim=True)) / (spread + GROUP_EPSILON)).flatten()

"""How much responses repeat one another, and themselves."""

from collections.abc import Sequence
from itertools import pairwise

REPEATED = 4
"""Length, in tokens, of what counts as repeated within a response."""


def distinct_2(texts: Sequence[str]) -> float:
    """Share of different ones among all pairs of neighbouring words of the texts (Li et al., 2016); 0 when there is no pair."""
    pairs = [pair for words in map(str.split, texts) for pair in pairwise(words)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def repetition(responses: Sequence[Sequence[int]]) -> float:
    """Mean over responses, as tokens, of 1 − different runs of 4 tokens / runs of 4 tokens (Welleck et al., 2020); 0 for short ones."""
    return sum(map(_repetition, responses)) / len(responses) if responses else 0.0


def _repetition(tokens: Sequence[int]) -> float:
    runs = [tuple(tokens[start : start + REPEATED]) for start in range(len(tokens) - REPEATED + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0

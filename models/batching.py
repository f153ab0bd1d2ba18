"""Rows in batches of similar length, so that little of the work is padding."""

from collections.abc import Sequence

from models.randomness import generator

CPU_PASS_TOKENS = 2048
"""Most padded tokens that a model reads at once on a CPU: larger passes leave its caches, and more of what they read is padding."""


def token_batches(lengths: Sequence[int], microbatch_tokens: int, counts: Sequence[int] | None = None) -> list[list[int]]:
    """Row numbers in batches of similar length whose padded size stays within the budget (a single larger row has its own).

    A row is `counts[row]` sequences (by default one) of at most `lengths[row]` tokens.
    """
    batches: list[list[int]] = []
    sequences = 0
    for row in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        own = counts[row] if counts else 1
        if batches and lengths[row] * (sequences + own) <= microbatch_tokens:
            batches[-1].append(row)
            sequences += own
        else:
            batches.append([row])
            sequences = own
    return batches


def epoch_batches(lengths: Sequence[int], batch_size: int, *seed: int | str) -> list[list[int]]:
    """Row numbers in batches of similar length, in random order: rows are shuffled, sorted by length, cut, and the batches shuffled."""
    random = generator(*seed)
    order = sorted(random.permutation(len(lengths)).tolist(), key=lambda i: lengths[i])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]

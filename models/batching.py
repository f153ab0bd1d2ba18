"""Rows in batches of similar length, so that little of the work is padding."""

from collections.abc import Sequence

from models.randomness import generator


def token_batches(lengths: Sequence[int], microbatch_tokens: int) -> list[list[int]]:
    """Row numbers in batches of similar length whose padded size stays within the budget (a single longer row has its own)."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batches and lengths[row] * (len(batches[-1]) + 1) <= microbatch_tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def epoch_batches(lengths: Sequence[int], batch_size: int, *seed: int | str) -> list[list[int]]:
    """Row numbers in batches of similar length, in random order: rows are shuffled, sorted by length, cut, and the batches shuffled."""
    random = generator(*seed)
    order = sorted(random.permutation(len(lengths)).tolist(), key=lambda i: lengths[i])
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]

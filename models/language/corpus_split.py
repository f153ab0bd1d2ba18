"""Which texts of a corpus are kept aside from pretraining; apart from the training itself so that it needs no torch."""

from models.randomness import generator

HELD_OUT = 0.02
"""Share of a corpus that is kept aside."""


def held_out_places(count: int, seed: int) -> list[int]:
    """The places, in order, of the texts that are kept aside from `count` of them, one at least, drawn by the seed."""
    order = generator(seed, "pretrain", "held_out").permutation(count)
    return sorted(int(place) for place in order[: max(1, round(HELD_OUT * count))])

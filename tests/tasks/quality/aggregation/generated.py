"""Verdicts whose making is known: generated from parameters, or by a formula that any language can repeat."""

from typing import NamedTuple

import numpy as np

from tasks.quality.aggregation.verdicts import Floats, Verdicts


def by_formula() -> Verdicts:
    """360 verdicts of 5 annotators on 90 comparisons."""
    rows = []
    for i in range(90):
        for k in range(5):
            dice, truth = (i * 7 + k * 13 + i * i * 3 + i * k * 11) % 20, (i * i + i // 7) % 3
            if (i + k) % 5:
                rows.append((i, k, truth if dice < (16, 14, 12, 10, 9)[k] else (truth + 1 + dice % 2) % 3))
    return Verdicts.of(*np.array(rows).T)


class World(NamedTuple):
    """Verdicts by the Bradley-Terry model, and what made them."""

    verdicts: Verdicts
    differences: Floats
    sensitivity: Floats
    side: Floats
    tie: Floats


def paired(seed: int, n: int = 800, people: int = 12, each: int = 4, spread: float = 2.0) -> World:
    """Each comparison judged by `each` annotators: a third are keen, a third are not, and a third throw coins."""
    rng = np.random.default_rng(seed)
    differences = spread * rng.normal(size=n)
    sensitivity = np.repeat([2.0, 0.8, 0.0], people // 3)
    side, tie = rng.normal(size=people) * 0.4 + 0.3, np.exp(rng.normal(size=people) * 0.3 - 0.7)
    who = np.concatenate([rng.permutation(people)[:each] for _ in range(n)])
    which, first = np.repeat(np.arange(n), each), rng.choice([-1.0, 1.0], n * each)
    seen = sensitivity[who] * differences[which] + side[who] * first + rng.logistic(size=n * each)
    verdict = np.where(np.abs(seen) < tie[who], 1, np.where(seen > 0, 0, 2))
    return World(Verdicts.of(which, who, verdict, first), differences, sensitivity, side, tie)

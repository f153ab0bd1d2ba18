"""Bootstrap intervals when a prompt has several rows: whole prompts are drawn, for any figure that is a function of sums over rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.intervals import CHUNK, LEVEL
from models.randomness import generator

RESAMPLES = 2000
"""Bootstrap resamples of prompts behind an interval."""

Floats = NDArray[np.float64]
Sums = Mapping[str, Floats]
"""Sums of columns over the rows, by the column's name."""
Figure = Callable[[Sums], Floats]
"""A figure from sums, elementwise; what it makes of 0 / 0 is undefined."""


class Estimate(NamedTuple):
    """A figure and the 95 % interval around it; None where it is undefined, and for the interval of fewer than two prompts."""

    value: float | None
    low: float | None = None
    high: float | None = None


def estimates(columns: Mapping[str, Floats], figures: Mapping[str, Figure], prompt_ids: Sequence[str]) -> dict[str, Estimate]:
    """Figures of n rows with percentile intervals over prompts (Efron, 1979); resamples without a value are left out.

    Args:
        columns: values of the rows by name, each (n,).
        figures: each figure as a function of the columns' sums.
        prompt_ids: the prompt of each row.
    """
    names, index = np.unique(np.asarray(prompt_ids), return_inverse=True)
    of_prompts: Floats = np.stack(
        [np.bincount(index, weights=column, minlength=len(names)).astype(np.float64) for column in columns.values()], 1
    )
    whole = dict(zip(columns, of_prompts.sum(0), strict=True))
    drawn = dict(zip(columns, _resampled(of_prompts).T, strict=True)) if len(names) > 1 else None
    with np.errstate(all="ignore"):
        return {name: _estimate(figure, whole, drawn) for name, figure in figures.items()}


def _resampled(of_prompts: Floats) -> Floats:
    """Sums (RESAMPLES, columns) over prompts drawn with replacement, from the sums of each prompt (prompts, columns)."""
    count, random = len(of_prompts), generator(0, "clusters")
    rows, parts = max(1, CHUNK // count), []
    for done in range(0, RESAMPLES, rows):
        size = min(rows, RESAMPLES - done)
        places = random.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(places.ravel(), minlength=size * count).reshape(size, count)
        parts.append(times.astype(np.float64) @ of_prompts)
    return np.concatenate(parts)


def _estimate(figure: Figure, whole: Sums, drawn: Sums | None) -> Estimate:
    value = float(figure(whole))
    if not np.isfinite(value):
        return Estimate(None)
    if drawn is None:
        return Estimate(value)
    values = figure(drawn)
    low, high = np.quantile(values[np.isfinite(values)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))

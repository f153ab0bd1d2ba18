"""A figure as it is reported: its slice, its value and interval, and what it rests on."""

import math
from dataclasses import dataclass

from data_contracts.records import ALL_SLICES
from tasks.quality.figures.agreement import Array


@dataclass(frozen=True)
class Figure:
    """One figure of one slice with its 95 % interval; None is undefined."""

    slice_kind: str
    slice: str
    figure: str
    value: float | None
    low: float | None
    high: float | None
    n: int

    @classmethod
    def of(
        cls, name: str, told: tuple[float, float, float], n: Array | float, part: tuple[str, str] = (ALL_SLICES, ALL_SLICES)
    ) -> "Figure":
        """A figure from its value and the ends of its interval, nan being undefined; `part` is a kind of slice and a slice."""
        value, low, high = map(defined, told)
        return cls(*part, name, value, low, high, int(n))


UNKNOWN = (float("nan"), float("nan"))
"""The interval of a figure that is given without one."""


def defined(value: Array | float) -> float | None:
    """The value, or None where it is undefined."""
    return float(value) if math.isfinite(value) else None

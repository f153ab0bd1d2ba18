"""What a stage costs: its time, that of processors, and the peak memory of its learning processes.

Processor seconds are user and system time of the whole process that the stage runs in, with whatever its other threads do meanwhile,
and of the processes that it started and that ended meanwhile: learning processes with those that they start, and what is told of
those that a fork server started, whose imports the first of them pays. The Prefect server of a
night that has one of its own does not end meanwhile, so it is not counted; nor is what a killed run did, nor a GPU's time.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Cost:
    """What was used; known when the block of `metered` is left."""

    seconds: float = 0.0
    cpu_seconds: float | None = None
    """None where nobody measured."""
    peak_memory: int | None = None
    """Bytes: the most that one learning process held in memory; None where none ran, or the system does not tell it."""


_metered: ContextVar[Cost | None] = ContextVar("metered", default=None)


@contextmanager
def metered() -> Iterator[Cost]:
    """Measure what a block costs."""
    cost, started, used = Cost(), time.monotonic(), _cpu_seconds()
    token = _metered.set(cost)
    try:
        yield cost
    finally:
        _metered.reset(token)
        cost.seconds, cost.cpu_seconds = time.monotonic() - started, (cost.cpu_seconds or 0.0) + _cpu_seconds() - used


def add_cpu_seconds(used: float) -> None:
    """Add processor seconds of a process that this one did not start itself to what the block that runs now costs."""
    cost = _metered.get()
    if cost is not None:
        cost.cpu_seconds = (cost.cpu_seconds or 0.0) + used


def add_peak_memory(size: int | None) -> None:
    """Add the peak memory of a process, in bytes, to what the block that runs now costs; None says nothing."""
    cost = _metered.get()
    if cost is not None and size is not None:
        cost.peak_memory = max(size, cost.peak_memory or 0)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)

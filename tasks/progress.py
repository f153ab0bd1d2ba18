"""Where stages say how far they are: anyone who listens (the command line's display, a log) hears it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from models.sizes import readable


@dataclass(frozen=True)
class StageStarted:
    """A stage begins."""

    stage: str


@dataclass(frozen=True)
class StageProgress:
    """The running stage has done some of its work."""

    done: int
    total: int
    """0 where it is not known how much there is."""
    figures: Mapping[str, object] = field(default_factory=dict)
    in_bytes: bool = False
    """Whether the work is told in bytes."""


@dataclass(frozen=True)
class StageEnded:
    """A stage gave its artifact."""

    stage: str
    reused: bool
    seconds: float
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    """As in the stage's result."""
    headline: Mapping[str, object] = field(default_factory=dict)
    kind: str = ""
    """Kind of the artifact."""
    artifact_id: str = ""


@dataclass(frozen=True)
class NightEnded:
    """A night ended, well or not, and its record was written."""

    night: str
    outcome: str
    summary: str
    """All of it, as Markdown."""


Event = StageStarted | StageProgress | StageEnded | NightEnded
_listeners: list[Callable[[Event], None]] = []


@contextmanager
def listening(listener: Callable[[Event], None]) -> Iterator[None]:
    """Have a listener called with every event while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def emit(event: Event) -> None:
    """Tell every listener."""
    for listener in tuple(_listeners):
        listener(event)


def describe(event: Event) -> str:
    """An event in words."""
    if isinstance(event, StageStarted):
        return f"{event.stage} …"
    if isinstance(event, NightEnded):
        return f"night {event.night}: {event.outcome}"
    if isinstance(event, StageEnded):
        return f"{event.stage}: {'reused' if event.reused else 'made'} in {costs_text(event.seconds, event.cpu_seconds, event.peak_memory)}"
    figures = " · ".join(f"{name.replace('_', ' ')} {figure_text(value)}" for name, value in event.figures.items())
    return f"{_amount(event)}  {figures}".rstrip()


def figure_text(value: object) -> str:
    """A figure in words: three digits of a float and no more than four places, so that what is next to nothing is 0; a dash for none."""
    if value is None:
        return "–"
    return f"{round(value, 4):.3g}" if isinstance(value, float) else str(value)


def costs_text(seconds: float, cpu_seconds: float | None, peak_memory: int | None) -> str:
    """What a stage or a night cost: `61.9 s (118.2 s of processors, at most 1.21 GiB)`, as far as it is known."""
    used = [] if cpu_seconds is None else [f"{cpu_seconds:.1f} s of processors"]
    held = [] if peak_memory is None else [f"at most {readable(peak_memory)}"]
    return f"{seconds:.1f} s ({', '.join(used + held)})" if used + held else f"{seconds:.1f} s"


def _amount(event: StageProgress) -> str:
    if event.in_bytes:
        return f"{event.done / 1e6:.0f} of {event.total / 1e6:.0f} MB"
    return f"{event.done}/{event.total}" if event.total else f"{event.done}"

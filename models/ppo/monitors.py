"""Monitors: rules over the metrics of a training run that notice when a policy goes wrong, and warn or stop.

A monitor is a number that is told from the rows of metrics up to now, and alarms when it exceeds its threshold in the recipe. It keeps
no state, so a run that was resumed alarms as an unbroken one. "At first" means in the first rollout, which the start of the training gave.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from models.policy_configs import MonitorName, MonitorsConfig

Row = Mapping[str, float | int | None]
Measure = Callable[[Sequence[Row]], float | None]
"""A monitor's number, from the rows up to now; None where it cannot be told."""
WINDOW = 3
"""Updates over which a change of the KL is measured."""


class Alarm(NamedTuple):
    """A monitor whose number exceeded its threshold: a row of `alarms.jsonl`."""

    update: int
    monitor: str
    value: float
    threshold: float
    action: str
    """`warn` or `stop`."""

    @property
    def message(self) -> str:
        """A line for the log."""
        return f"update {self.update}: {self.monitor} is {self.value:.3g}, above {self.threshold:.3g} ({self.action})"


def alarms(rows: Sequence[Row], config: MonitorsConfig) -> list[Alarm]:
    """The alarms of the last row, after those before it (update 0 may be the first)."""
    found = []
    for name, measure in MONITORS.items():
        value, threshold = (None if name in config.off else measure(rows)), getattr(config, name)
        if value is not None and value > threshold:
            found.append(Alarm(int(rows[-1]["update"] or 0), name, value, threshold, "stop" if name in config.stop else "warn"))
    return found


def negative_kl(rows: Sequence[Row]) -> float | None:
    """−kl_k1: the mean KL cannot be below 0 unless what samples is not what is trained."""
    kl = rows[-1].get("kl_k1")
    return None if kl is None else -kl


def kl_acceleration(rows: Sequence[Row]) -> float | None:
    """Rise of kl_k1 over the last three updates, less that over the three before them."""
    kl = [value for row in rows if (value := row.get("kl_k1")) is not None]
    if len(kl) <= 2 * WINDOW:
        return None
    return (kl[-1] - kl[-1 - WINDOW]) - (kl[-1 - WINDOW] - kl[-1 - 2 * WINDOW])


def judge_fall(rows: Sequence[Row]) -> float | None:
    """Fall of the held-out judge's score from its best, where the reward model's rose meanwhile: the reward model is being fooled."""
    judged = [pair for row in rows if (pair := _judged(row)) is not None]
    if not judged or _judged(rows[-1]) is None:
        return None
    (best, then), (judge, now) = max(judged), judged[-1]
    return best - judge if now > then else None


def _judged(row: Row) -> tuple[float, float] | None:
    """The held-out judge's and the reward model's score of a validation."""
    judge, score = row.get("validation_judge_score"), row.get("validation_score")
    return None if judge is None or score is None else (judge, score)


def growth(name: str) -> Measure:
    """A figure as a multiple of what it was at first; None where that was 0."""
    return lambda rows: _from_first(rows, name, lambda now, first: now / first if first else None)


def rise(name: str) -> Measure:
    """A figure, less what it was at first."""
    return lambda rows: _from_first(rows, name, lambda now, first: now - first)


def fall(name: str) -> Measure:
    """Share of a figure that has gone since the beginning; None where it was 0."""
    return lambda rows: _from_first(rows, name, lambda now, first: 1 - now / first if first else None)


def _from_first(rows: Sequence[Row], name: str, compare: Callable[[float, float], float | None]) -> float | None:
    """What a figure's first and last value say together; None where one is not known."""
    first, now = next((row[name] for row in rows if name in row), None), rows[-1].get(name)
    return None if first is None or now is None else compare(now, first)


MONITORS: Mapping[MonitorName, Measure] = {
    "negative_kl": negative_kl,
    "kl_acceleration": kl_acceleration,
    "judge_fall": judge_fall,
    "disagreement_growth": growth("disagreement"),
    "length_growth": growth("response_length"),
    "repetition_rise": rise("repetition"),
    "distinct_2_fall": fall("distinct_2"),
    "entropy_fall": fall("entropy"),
    "missing_end_rise": lambda rows: _from_first(rows, "ended_share", lambda now, first: first - now),
}

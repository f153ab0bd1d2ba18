"""What the simulated annotators' tool exports on each of many nights: late rows, rows twice, corrections, a night taken back.

Every judgment has an id of its own, as a real tool's has, so the pipeline can tell a redelivery from a second opinion. What is delivered
on a night follows from what was judged up to then, and from nothing else.
"""

from collections.abc import Mapping

from pydantic import Field, model_validator

from models.randomness import generator
from tasks.simulation.feedback import Rows
from tasks.stage import StageConfig

ORDINARY, POISONED, EMPTY = "ordinary", "poisoned", "empty"
"""Kinds of deliveries."""


class DeliveryConfig(StageConfig):
    """The calendar of the nights, and how untidy their deliveries are."""

    seed: int = Field(default=0, ge=0, description="decides which rows are late, come twice or are corrected")
    nights: int = Field(default=14, ge=1, description="nights that are played")
    poisoned_night: int | None = Field(default=None, ge=1, description="the night on which most annotators answer at random")
    empty_night: int | None = Field(default=None, ge=1, description="the night on which nothing is delivered")
    late_share: float = Field(default=0.1, ge=0, le=1, description="share of a night's judgments that come with the next delivery")
    redelivered_share: float = Field(default=0.1, ge=0, le=1, description="share of a night's judgments that the next delivery repeats")
    corrected_share: float = Field(
        default=0.3, ge=0, le=1, description="share of the wrong verdicts on gold comparisons that the next delivery corrects"
    )

    @model_validator(mode="after")
    def _nights_are_there(self) -> "DeliveryConfig":
        for name in ("poisoned_night", "empty_night"):
            night = getattr(self, name)
            if night is not None and not 1 <= night <= self.nights:
                raise ValueError(f"{name} {night} is not one of {self.nights} nights")
        if self.empty_night == 1:
            raise ValueError("the first night cannot be empty: there is nothing to learn from yet")
        if self.poisoned_night is not None and self.poisoned_night == self.empty_night:
            raise ValueError(f"night {self.empty_night} cannot be poisoned and empty")
        return self

    def kind(self, night: int) -> str:
        """What is special about a night's delivery."""
        return {self.poisoned_night: POISONED, self.empty_night: EMPTY}.get(night, ORDINARY)

    def before(self, night: int) -> int | None:
        """The night of the delivery before, or None where there is none."""
        return max((other for other in range(1, night) if other != self.empty_night), default=None)


def named(rows: Rows, night: int) -> Rows:
    """A night's judgments with ids of their own."""
    return [row | {"judgment_id": f"night-{night:02d}-{number:05d}"} for number, row in enumerate(rows)]


def delivered(config: DeliveryConfig, judged: Mapping[int, Rows], night: int) -> Rows:
    """The rows of a night's delivery, in the native format; none on the empty night.

    A poisoned night is taken back, whole, by the delivery that follows: somebody looked at why the data gate had stopped it.

    Args:
        config: the calendar.
        judged: what was judged on each night so far, with ids.
        night: the night, from 1.
    """
    if night == config.empty_night:
        return []
    before = config.before(night)
    on_time = [row for row, late in zip(judged[night], _chosen(config, night, "late", judged[night]), strict=True) if not late]
    if before is None:
        return on_time
    earlier = judged[before]
    if before == config.poisoned_night:
        return [*on_time, *({"op": "retract", "judgment_id": row["judgment_id"]} for row in earlier)]
    late = [row for row, is_late in zip(earlier, _chosen(config, before, "late", earlier), strict=True) if is_late]
    again = [row for row, twice in zip(earlier, _chosen(config, before, "again", earlier), strict=True) if twice]
    wrong = [row for row in earlier if row["gold_verdict"] not in (None, row["verdict"])]
    mended = [row for row, mend in zip(wrong, _chosen(config, before, "mended", wrong), strict=True) if mend]
    return [*on_time, *late, *again, *(row | {"verdict": row["gold_verdict"]} for row in mended)]


def _chosen(config: DeliveryConfig, night: int, what: str, rows: Rows) -> list[bool]:
    """Which rows of a night are late, come again or are mended; nothing of a poisoned night is late, so that it can be taken back."""
    share = {"late": config.late_share, "again": config.redelivered_share, "mended": config.corrected_share}[what]
    if what == "late" and night in (config.poisoned_night, config.nights):
        share = 0.0
    return [bool(chance < share) for chance in generator(config.seed, night, what).random(len(rows))]

"""Rules on figures, as both gates have them: bounds that a figure, or an end of its interval, has to keep to."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeVar

from pydantic import Field, model_validator

from data_contracts.sql_text import quoted
from tasks.stage import StageConfig

Z: Final = 1.959964
"""Standard errors to each side of a 95 % interval."""
End = Literal["worse", "value", "better"]
Side = Literal["at least", "at most", "above"]


@dataclass(frozen=True)
class Figure:
    """A figure of one slice as a stage told it, with its 95 % interval; None is undefined."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    judge_half_width: float | None = None
    """What of the interval's half width comes from how the judge's members differ; None where it is of `n` alone."""


class Bound(NamedTuple):
    """One bound of a rule."""

    side: Side
    threshold: float

    def slack(self, number: float) -> float:
        """How far a number keeps to the bound; negative where it does not."""
        return self.threshold - number if self.side == "at most" else number - self.threshold

    def is_kept(self, number: float) -> bool:
        """Whether a number keeps to the bound."""
        return number > self.threshold if self.side == "above" else self.slack(number) >= 0

    def end_of(self, figure: Figure, end: End) -> float:
        """The end of the figure's interval that is against the bound (`worse`) or for it (`better`), or the figure itself."""
        low_is_worse = self.side != "at most"
        chosen = figure.value if end == "value" else figure.low if (end == "worse") == low_is_worse else figure.high
        return chosen or 0.0

    def __str__(self) -> str:
        return f"{self.side} {self.threshold:g}"


class BoundedRule(StageConfig):
    """A rule on one figure: bounds, and which end of the figure's interval has to keep to them."""

    name: str = Field(min_length=1, description="what the rule is called; one with the name of a built-in rule takes its place")
    figure: str = Field(description="the figure that is judged, by name")
    at_least: float | None = Field(default=None, description="what the figure has to be or exceed, in its own units")
    at_most: float | None = Field(default=None, description="what it must not exceed")
    end: End = Field(default="worse", description="which end of the 95 % interval has to keep to the bounds")
    min_n: int = Field(default=1, ge=1, description="a figure that rests on less is not enough evidence")
    remedy: str = Field(default="", description="what to do where the rule is broken; by default what suits the figure")

    @property
    def bounds(self) -> list[Bound]:
        """The bounds that the rule has."""
        sides: tuple[tuple[Side, float | None], ...] = (("at least", self.at_least), ("at most", self.at_most))
        return [Bound(side, threshold) for side, threshold in sides if threshold is not None]

    def nearest(self, figure: Figure) -> Bound:
        """Of the bounds the one that is broken, or else nearer, by the end of the figure that the rule looks at."""
        return min(self.bounds, key=lambda bound: bound.slack(bound.end_of(figure, self.end)))

    @model_validator(mode="after")
    def _has_a_bound(self) -> "BoundedRule":
        if not self.bounds:
            raise ValueError(f"rule {self.name!r} needs a bound, such as `at_least` or `at_most`")
        return self


RuleT = TypeVar("RuleT", bound=BoundedRule)


def refuse_same_names(rules: Sequence[BoundedRule]) -> None:
    """A `ValueError` where two rules of a recipe have one name."""
    names = [rule.name for rule in rules]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two rules have one name: {', '.join(twice)}")


def with_own(built_in: Sequence[RuleT], own: Sequence[RuleT]) -> list[RuleT]:
    """The built-in rules and a recipe's own, which take the place of built-in ones of the same name."""
    return list({rule.name: rule for rule in (*built_in, *own)}.values())


def number(value: float | None) -> str:
    """A figure in words: whole numbers without decimals."""
    return "–" if value is None else f"{value:.0f}" if value == int(value) else f"{value:.3f}"


def with_interval(figure: Figure) -> str:
    """A figure with its interval, where it has one."""
    known = figure.low is not None and figure.high is not None
    return number(figure.value) + (f" [{figure.low:.3f}, {figure.high:.3f}]" if known else "")


def shown(query: str) -> str:
    """A command to be pasted: names of slices and sources come from the feedback, so nothing in it may mean anything to a shell."""
    return f"overnight audit sql {shlex.quote(query)}"


def text_in_sql(value: str) -> str:
    """A text as SQL, without quotation marks, which a shell's would make hard to read, where that can be."""
    return quoted(value) if "$" in value else f"$${value}$$"

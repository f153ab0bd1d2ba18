"""The configurations of what a policy is rewarded for: the reward model, functions of one's own, and written rules."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field

from models.config_parts import FunctionConfig, Pattern


class _Term(BaseModel):
    """What every term of the reward has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(default=1.0, allow_inf_nan=False, description="the term's score is multiplied by this; below 0 it is a price")
    clip: float | None = Field(
        default=None, gt=0, description="the term's score is limited to this size on both sides, before the weight; by default to none"
    )
    name: str = Field(
        default="",
        pattern=r"^\w*$",
        description="what the term is called in metrics and samples; by default its kind, or its function's name",
    )

    @property
    def label(self) -> str:
        """What the term is called."""
        return self.name or str(getattr(self, "kind"))  # noqa: B009 - every kind of term has one


class RewardModelTerm(_Term):
    """The trained reward model's score: the only term where a recipe lists none; a recipe that lists some lists them all."""

    kind: Literal["reward_model"] = Field(default="reward_model", description="the trained reward model")


class FunctionTerm(_Term, FunctionConfig):
    """A function of one's own; its source counts for the policy's id."""

    kind: Literal["function"] = Field(description="a function of one's own")

    @property
    def label(self) -> str:
        """What the term is called."""
        return self.name or self.function.partition(":")[2]


class LengthCapTerm(_Term):
    """A cap on the length: 0 up to it, and above it minus the share by which it is exceeded."""

    kind: Literal["length_cap"] = Field(description="a cap on the length")
    most: int = Field(ge=1, description="longest response that costs nothing")
    unit: Literal["words", "characters"] = Field(default="words", description="what is counted; words are what stands between spaces")


class BannedTerm(_Term):
    """Patterns that must not stand in a response: −1 for every place where one does."""

    kind: Literal["banned"] = Field(description="patterns that must not be found")
    patterns: tuple[Pattern, ...] = Field(min_length=1, description="regular expressions, as Python's `re` searches for them")


class RequiredTerm(_Term):
    """A pattern that must stand in a response: −1 where it does not, else 0."""

    kind: Literal["required"] = Field(description="a pattern that must be found")
    pattern: Pattern = Field(description="regular expression, as Python's `re` searches for it")


RewardTerm = Annotated[RewardModelTerm | FunctionTerm | LengthCapTerm | BannedTerm | RequiredTerm, Discriminator("kind")]

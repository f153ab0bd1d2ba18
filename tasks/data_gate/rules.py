"""The rules of the data gate: what a rule is, and those that every recipe has unless it says otherwise."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from data_contracts.quality_figures import QUALITY_FIGURES, SLICE_KINDS, VOLUME_FIGURES
from data_contracts.records import ALL_SLICES
from tasks.rules import BoundedRule, End, refuse_same_names, with_own
from tasks.stage import StageConfig

CONTRACT_WARNINGS = "failed_contract_warnings"
FIGURES = QUALITY_FIGURES | {CONTRACT_WARNINGS: "expectations of the severity `warning` that the snapshot's records broke"}
"""What a rule may look at, by name."""


class DataRule(BoundedRule):
    """One rule on one figure of feedback quality, for one slice or for every slice of a kind."""

    figure: str = Field(description="the figure that is judged: a name of docs/glossary.md, or `failed_contract_warnings`")
    slice_kind: str = Field(
        default=ALL_SLICES, description="what the slices are parts by, such as `all`, `new` or `new_domain`; see docs/glossary.md"
    )
    slices: tuple[str, ...] = Field(default=(), description="the slices that are judged; by default every one of the kind")
    compare: Literal["level", "change"] = Field(
        default="level", description="judge the figure, or its change against the median of the trailing nights"
    )
    at_least: float | None = Field(default=None, description="what the figure, or its change, has to be or exceed, in its own units")
    end: End = Field(
        default="worse",
        description="which end of the 95 % interval has to keep to the bounds: the `worse` one is broken by doubt, "
        "the `better` one only where the whole interval is beyond; `value` looks at no interval",
    )
    severity: Literal["warn", "stop"] = Field(default="stop", description="what a broken rule does")
    min_n: int = Field(default=1, ge=1, description="a figure that rests on less is not enough evidence: that warns and never stops")

    @model_validator(mode="after")
    def _is_known(self) -> "DataRule":
        if self.figure not in FIGURES:
            raise ValueError(f"there is no figure {self.figure!r}; there are {', '.join(sorted(FIGURES))}")
        if self.slice_kind not in SLICE_KINDS:
            raise ValueError(f"there is no kind of slice {self.slice_kind!r}; there are {', '.join(SLICE_KINDS)}")
        if self.figure in (*VOLUME_FIGURES, CONTRACT_WARNINGS) and (self.end != "value" or self.compare != "level"):
            raise ValueError(f'{self.figure} has no interval: give rule {self.name!r} `end = "value"` and no `compare`')
        return self


class DataGateConfig(StageConfig):
    """When the feedback may be learned from: thresholds of the built-in rules, and rules beside them or, by name, in their place."""

    min_krippendorff_alpha: float = Field(
        default=0.1,
        ge=-1,
        le=1,
        description="the lower end of the agreement of all judgments has to be this or more, and the upper end of that of what is new; "
        "−1 does without agreement, as one judgment per comparison has to",
    )
    max_agreement_fall: float = Field(
        default=0.05, gt=0, description="stop where the agreement of what is new has surely fallen by more, against the trailing nights"
    )
    max_slice_agreement_fall: float = Field(default=0.15, gt=0, description="the same within a domain")
    min_gold_passed: float = Field(
        default=0.4,
        ge=0,
        le=1,
        description="stop where the share of gold comparisons passed, of what is new, is surely below; also by domain",
    )
    max_gold_fall: float = Field(
        default=0.1, gt=0, description="stop where that share has surely fallen by more, against the trailing nights"
    )
    max_slice_gold_fall: float = Field(default=0.15, gt=0, description="the same within a domain")
    max_length_change: float = Field(
        default=0.15, gt=0, description="warn where within a domain the share that prefers the longer response has surely changed by more"
    )
    max_position_bias: float = Field(
        default=0.15, ge=0, le=0.5, description="warn where the share for what stood first is surely farther from 0.5, of what is new"
    )
    min_comparisons: int = Field(default=2, ge=1, description="fewer comparisons than this in all are stopped")
    min_judgments: int = Field(default=2, ge=1, description="fewer judgments than this in all are stopped")
    min_annotators: int = Field(default=2, ge=0, description="warn where fewer annotators are known, of what is new")
    max_annotator_share: float = Field(default=0.5, gt=0, le=1, description="warn where one annotator gave a larger share of what is new")
    max_quarantined_share: float = Field(default=0.2, ge=0, le=1, description="warn where a larger share of the new rows was refused")
    max_contract_warnings: int = Field(default=0, ge=0, description="warn where more expectations of the severity `warning` are broken")
    enough_comparisons: int = Field(default=50, ge=2, description="agreement of fewer comparisons is not enough evidence")
    enough_gold: int = Field(default=20, ge=2, description="fewer judgments of gold comparisons are not enough evidence")
    enough_judgments: int = Field(default=100, ge=2, description="shares of fewer judgments are not enough evidence")
    trailing_nights: int = Field(default=7, ge=1, description="nights before, whose data was let through, that changes are judged against")
    min_trailing_nights: int = Field(default=3, ge=1, description="changes are not judged against fewer")
    accept: str = Field(
        default="",
        pattern=r"^([0-9a-f]{8,64})?$",
        description="first digits, 8 or more, of the id of a quality artifact: exactly its feedback is let through, whatever the rules say",
    )
    rules: tuple[DataRule, ...] = Field(default=(), description="further rules")

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "DataGateConfig":
        refuse_same_names(self.rules)
        return self

    @property
    def every_rule(self) -> list[DataRule]:
        """The built-in rules and the recipe's own."""
        return with_own(built_in(self), self.rules)


def built_in(config: DataGateConfig) -> list[DataRule]:
    """The rules that every recipe has. What would stop a night on doubt alone looks at all judgments; of a night's own, doubt passes."""
    return [*_agreement(config), *_gold(config), *_bias(config), *_counts(config)]


def _agreement(config: DataGateConfig) -> list[DataRule]:
    if config.min_krippendorff_alpha == -1:
        return []
    alpha = {"figure": "krippendorff_alpha", "min_n": config.enough_comparisons}
    level, change = {"at_least": config.min_krippendorff_alpha}, {"compare": "change", "end": "better"}
    return [
        _rule("annotators agree", alpha, level),
        _rule("annotators agree tonight", alpha, level, slice_kind="new", end="better"),
        _rule("agreement holds", alpha, change, slice_kind="new", at_least=-config.max_agreement_fall),
        _rule("agreement holds by domain", alpha, change, slice_kind="new_domain", at_least=-config.max_slice_agreement_fall),
    ]


def _gold(config: DataGateConfig) -> list[DataRule]:
    gold = {"figure": "gold_passed_share", "min_n": config.enough_gold, "end": "better"}
    return [
        _rule("gold is passed", gold, slice_kind="new", at_least=config.min_gold_passed),
        _rule("gold is passed by domain", gold, slice_kind="new_domain", at_least=config.min_gold_passed),
        _rule("gold holds", gold, slice_kind="new", compare="change", at_least=-config.max_gold_fall),
        _rule("gold holds by domain", gold, slice_kind="new_domain", compare="change", at_least=-config.max_slice_gold_fall),
    ]


def _bias(config: DataGateConfig) -> list[DataRule]:
    shares = {"min_n": config.enough_judgments, "end": "better", "severity": "warn"}
    most, longer = config.max_position_bias, config.max_length_change
    return [
        _rule("no side is favoured", shares, figure="presented_first_share", slice_kind="new", at_least=0.5 - most, at_most=0.5 + most),
        _rule(
            "taste for length holds by domain",
            shares,
            {"figure": "longer_preferred_share", "slice_kind": "new_domain", "compare": "change"},
            at_least=-longer,
            at_most=longer,
        ),
    ]


def _counts(config: DataGateConfig) -> list[DataRule]:
    value, warn = {"end": "value"}, {"severity": "warn"}
    return [
        _rule("enough comparisons", value, figure="comparisons", at_least=config.min_comparisons),
        _rule("enough judgments", value, figure="judgments", at_least=config.min_judgments),
        _rule("several annotators", value, warn, figure="annotators", slice_kind="new", at_least=config.min_annotators),
        _rule("nobody judges alone", value, warn, figure="largest_annotator_share", slice_kind="new", at_most=config.max_annotator_share),
        _rule("rows are readable", value, warn, figure="quarantined_share", slice_kind="new", at_most=config.max_quarantined_share),
        _rule("contracts hold", value, warn, figure=CONTRACT_WARNINGS, at_most=config.max_contract_warnings),
    ]


def _rule(name: str, *parts: Mapping[str, object], **more: object) -> DataRule:
    settings: dict[str, object] = {"name": name}
    for part in (*parts, more):
        settings.update(part)
    return DataRule.model_validate(settings)

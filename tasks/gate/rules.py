"""The rules of the gate: what a rule is, and those that every recipe has unless it says otherwise."""

from collections.abc import Mapping
from typing import Final, Literal, get_args

from pydantic import Field, model_validator

from data_contracts.policy_figures import ALARMS, BY, FIGURES_OF, OPPONENTS
from data_contracts.records import ALL_SLICES
from models.policy_configs import MonitorName
from tasks.rules import Bound, BoundedRule, End, refuse_same_names, with_own
from tasks.stage import StageConfig

EACH: Final = "each"
Source = Literal["evaluation", "reward_model", "judge", "training"]


class GateRule(BoundedRule):
    """One rule on one figure, for all prompts together, for some slices, or for each slice."""

    of: Source = Field(
        default="evaluation",
        description="what the figure is of: the policy's `evaluation`, the `reward_model` or held-out `judge` on the test split, "
        "or the policy's `training`",
    )
    figure: str = Field(
        description="the figure that is judged: a name of docs/glossary.md; of a judge in `measures.judges`: `win_rate_reference_by_NAME`; "
        "of a function in `measures.functions`: `score_by_NAME`, `score_gain_reference_by_NAME`"
    )
    slices: tuple[str, ...] | Literal["each"] = Field(
        default=(ALL_SLICES,),
        description="the slices that are judged, or `each`; the intervals of several are widened so that chance breaks one in twenty rules "
        "and not one in twenty slices (Bonferroni)",
    )
    above: float | None = Field(default=None, description="what the figure has to exceed: equal is not enough")
    end: End = Field(
        default="worse",
        description="which end of the 95 % interval has to keep to the bounds: the `worse` one, and where only the better one does, "
        "there is not enough evidence; the `better` one, so that only what is surely beyond breaks the rule; `value` looks at no interval",
    )
    severity: Literal["warn", "fail"] = Field(default="fail", description="what a broken rule does")
    min_n: int = Field(
        default=1,
        ge=1,
        description="a figure that rests on less (prompts, texts) is not enough evidence; of `each` slice, one that has less is not judged",
    )

    @property
    def bounds(self) -> list[Bound]:
        """The bounds that the rule has."""
        return [*super().bounds, *([] if self.above is None else [Bound("above", self.above)])]

    @model_validator(mode="after")
    def _is_known(self) -> "GateRule":
        by_name = self.of == "evaluation" and BY in self.figure  # which judges and functions there are, the recipe knows
        if self.figure not in FIGURES_OF[self.of] and not by_name:
            raise ValueError(f"{self.of} has no figure {self.figure!r}; docs/glossary.md lists them")
        if self.of == "training" and self.end != "value":
            raise ValueError(f'{self.figure} has no interval: give rule {self.name!r} `end = "value"`')
        if self.of != "evaluation" and self.slices != (ALL_SLICES,):
            raise ValueError(f"rule {self.name!r}: only figures of the evaluation are judged by slice")
        return self


class GateConfig(StageConfig):
    """When a policy may ship: thresholds of the built-in rules, and rules beside them or, by name, in their place."""

    min_reward_accuracy: float = Field(
        default=0.5, ge=0, le=1, description="share of held-out pairs that the reward model must order right"
    )
    min_gain_over_length: float = Field(
        default=0.0,
        ge=-1,
        le=1,
        description="accuracy that the reward model must gain over a model of the responses' lengths alone; −1 does without",
    )
    min_length_balanced_accuracy: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="accuracy where longer and shorter responses were chosen equally often; length alone has 0.5 there, and 0 does without",
    )
    max_calibration_error: float = Field(
        default=0.15, ge=0, le=1, description="budget for the mean distance between predicted and observed probabilities; 1 does without"
    )
    max_above_human: float = Field(
        default=0.2,
        ge=-1,
        le=1,
        description="how much more often than a person the reward model may agree with the other annotators: far above people, something "
        "leaked; 1 does without, as one judgment per comparison has to",
    )
    max_loss_to_champion: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="accuracy that the reward model may lose to the champion's on the same held-out pairs; it fails where more is surely "
        "lost, and 1 does without",
    )
    min_judge_accuracy: float = Field(
        default=0.5, ge=0, le=1, description="share of held-out pairs that the held-out judge must order right; 0 does without"
    )
    min_win_rate: float = Field(default=0.5, ge=0, le=1, description="share of prompts on which the held-out judge must prefer the policy")
    min_length_controlled_win_rate: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="the same with the responses' lengths taken out; it fails where it is surely below, and 0 does without",
    )
    min_slice_win_rate: float = Field(
        default=0.5, ge=0, le=1, description="the win rate of each slice; it fails where one is surely below, and 0 does without"
    )
    max_kl: float = Field(default=20.0, gt=0, description="budget for the KL from the base model, in nats per response")
    max_length_growth: float = Field(
        default=2.0, gt=0, description="budget for the mean length of the policy's responses, as a multiple of the base model's"
    )
    max_slice_length_growth: float = Field(
        default=1.3,
        gt=0,
        description="how many times as long as the champion's the responses of a slice may be; it fails where one is surely beyond: what a "
        "judge and a reward model both like too much is often length, and in one slice only; a high one, such as 100, does without",
    )
    max_forgetting: float = Field(
        default=1.5, ge=1, description="budget for the policy's perplexity on the held-out texts, as a multiple of the base model's"
    )
    max_length_excess: float = Field(
        default=0.3,
        ge=0,
        le=2,
        description="how much more, or less, the score may correlate with length than the held-out judge's does, within prompts; it warns "
        "where the whole interval is beyond, and 2 does without",
    )
    max_repetition_excess: float = Field(default=0.3, ge=0, le=2, description="the same with repetition, and only how much more")
    max_phrase_excess: float = Field(
        default=0.8,
        ge=0,
        le=10,
        description="how much a phrase whose use rose may raise the score beyond the held-out judge's, or beyond twice of that where the "
        "judge likes it, in standard deviations of each within prompts; it warns where the whole interval is above, and 10 does without",
    )
    min_score_judge_slope: float = Field(
        default=0.25,
        ge=-10,
        le=1,
        description="how far the score must rise with the held-out judge's within the prompts of each slice, in standard deviations of "
        "each over all prompts; it warns where one is surely below, and −10 does without",
    )
    failing_alarms: tuple[MonitorName, ...] = Field(
        default=("negative_kl", "judge_fall"),
        description="monitors of the policy's training whose alarm, up to the update that was kept, fails the gate; the others warn",
    )
    min_prompts: int = Field(default=30, ge=2, description="fewer held-out prompts than this are not enough evidence, whatever they say")
    min_slice_prompts: int = Field(default=20, ge=2, description="a slice with fewer held-out prompts is not judged by itself")
    rules: tuple[GateRule, ...] = Field(default=(), description="further rules")

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "GateConfig":
        refuse_same_names(self.rules)
        return self

    @property
    def every_rule(self) -> list[GateRule]:
        """The built-in rules and the recipe's own."""
        return with_own(built_in(self), self.rules)


def built_in(config: GateConfig) -> list[GateRule]:
    """The rules that every recipe has."""
    return [*_judges(config), *_policy(config), *_each_slice(config), *_features(config), *_budgets(config), *_alarms(config)]


def _judges(config: GateConfig) -> list[GateRule]:
    """The reward model is better than a coin and than length, says probabilities that come true, and is not too good to be true."""
    most, champions = config.max_above_human, {"of": "evaluation", "figure": "reward_model_accuracy_gain_champion", "end": "better"}
    own: dict[str, object] = {"of": "reward_model", "min_n": config.min_prompts}
    length, balanced = config.min_gain_over_length, config.min_length_balanced_accuracy
    rules = [
        _rule("reward_model_orders_pairs", own, figure="accuracy", above=config.min_reward_accuracy),
        _rule("reward_model_beats_a_coin", own, figure="log_loss_gain", above=0.0),
        length > -1 and _rule("reward_model_beats_length", own, figure="accuracy_over_length_only", above=length),
        balanced > 0 and _rule("reward_model_is_more_than_length", own, figure="length_balanced_accuracy", above=balanced),
        config.max_calibration_error < 1 and _rule("reward_model_is_calibrated", own, figure="ece", at_most=config.max_calibration_error),
        most < 1 and _rule("reward_model_is_not_above_people", own, figure="above_human", at_most=most, end="better", remedy=LEAK),
        config.max_loss_to_champion < 1
        and _rule("reward_model_not_below_the_champions", champions, at_least=0.0 - config.max_loss_to_champion),
        config.min_judge_accuracy > 0 and _rule("judge_orders_pairs", own, of="judge", figure="accuracy", above=config.min_judge_accuracy),
    ]
    return [rule for rule in rules if rule]


LEAK = "look for what leaked into the test split: `overnight audit sql 'select * from duplicates'`"


def _policy(config: GateConfig) -> list[GateRule]:
    """The policy beats the base model and the champion by the held-out judge, and not by length."""
    enough: dict[str, object] = {"min_n": config.min_prompts}
    least = config.min_length_controlled_win_rate
    surely = {"figure": "length_controlled_win_rate_reference", "at_least": least, "end": "better"}
    return [
        _rule("better_than_reference", enough, figure="win_rate_reference", above=config.min_win_rate),
        _rule("better_than_champion", enough, figure="win_rate_champion", above=config.min_win_rate),
        *([_rule("not_better_by_length_alone", enough, surely)] if least > 0 else []),
    ]


def _each_slice(config: GateConfig) -> list[GateRule]:
    """No slice is worse, or much longer, than it was beyond what chance does: a mean can hide one that lost."""
    surely: dict[str, object] = {"end": "better", "slices": EACH, "min_n": config.min_slice_prompts}
    length, least = config.max_slice_length_growth, config.min_slice_win_rate
    worse = [_rule(f"no_slice_is_worse_than_{other}", surely, figure=f"win_rate_{other}", at_least=least) for other in OPPONENTS]
    longer = _rule("no_slice_is_much_longer_than_champion", surely, figure="length_ratio_champion", at_most=length)
    return [*(worse if least > 0 else []), longer]


def _features(config: GateConfig) -> list[GateRule]:
    """The reward model does not like what the judge does not, and sees something of what the judge sees, in every slice.

    They warn: what is learned from such a score may be good all the same, and by the win rates it is told whether it is.
    """
    surely: dict[str, object] = {"severity": "warn", "end": "better"}
    length, repetition, phrase = config.max_length_excess, config.max_repetition_excess, config.max_phrase_excess
    agree = {"figure": "score_judge_slope", "at_least": config.min_score_judge_slope, "slices": EACH}
    rules = [
        length < 2 and _rule("score_is_not_for_length", surely, figure="score_length_excess", at_most=length, at_least=-length),
        repetition < 2 and _rule("score_is_not_for_repetition", surely, figure="score_repetition_excess", at_most=repetition),
        phrase < 10 and _rule("score_is_not_for_phrase", surely, figure="score_phrase_excess", at_most=phrase),
        config.min_score_judge_slope > -10 and _rule("score_sees_what_the_judge_sees", surely, agree, min_n=LEAST_ANSWERED),
    ]
    return [rule for rule in rules if rule]


LEAST_ANSWERED = 8
"""Prompts of a slice that the base model has to have answered many times for score and judge to be compared there."""


def _budgets(config: GateConfig) -> list[GateRule]:
    """The policy stays near the base model, in what it says, how much it says, and what it knows."""
    enough: dict[str, object] = {"min_n": config.min_prompts}
    return [
        _rule("kl_within_budget", enough, figure="kl_k1", at_most=config.max_kl),
        _rule("responses_are_not_much_longer", enough, figure="length_ratio_reference", at_most=config.max_length_growth),
        _rule("little_is_forgotten", enough, figure="perplexity_ratio_reference", at_most=config.max_forgetting, min_n=2),
    ]


def _alarms(config: GateConfig) -> list[GateRule]:
    """No monitor of the policy's training alarmed up to the update that was kept."""
    none = {"of": "training", "at_most": 0, "end": "value"}
    severity = {name: "fail" if name in config.failing_alarms else "warn" for name in get_args(MonitorName)}
    return [_rule(f"no_alarm_of_{name}", none, figure=f"{ALARMS}{name}", severity=severity[name]) for name in severity]


def _rule(name: str, *parts: Mapping[str, object], **more: object) -> GateRule:
    settings: dict[str, object] = {"name": name}
    for part in (*parts, more):
        settings.update(part)
    return GateRule.model_validate(settings)

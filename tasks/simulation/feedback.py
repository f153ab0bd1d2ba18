"""Simulated nights of feedback: gold comparisons and repeats among the judgments, and poison where it is asked for."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from pydantic import Field, field_validator, model_validator

from tasks.simulation.annotators import TEMPERAMENTS, Annotator, Pair, collect_judgments, gold_verdict, hire
from tasks.simulation.grammar import SLICES
from tasks.stage import StageConfig

OTHER = {"a": "b", "b": "a", "tie": "tie"}
Rows = list[dict[str, object]]
Gold = dict[tuple[object, object, object], str]


class PoisonConfig(StageConfig):
    """What is wrong with one night's feedback."""

    night: int = Field(ge=1, description="the night whose feedback is poisoned, counted from 1")
    random_share: float = Field(default=0.0, ge=0, le=1, description="share of the annotators who answer at random that night")
    flipped_slice: str = Field(default="", description=f"slice in which everybody's verdicts are turned round ({', '.join(SLICES)})")

    @model_validator(mode="after")
    def _does_something(self) -> "PoisonConfig":
        if self.flipped_slice and self.flipped_slice not in SLICES:
            raise ValueError(f"there is no slice {self.flipped_slice!r}; there are {', '.join(SLICES)}")
        if not self.random_share and not self.flipped_slice:
            raise ValueError("poison needs a random_share or a flipped_slice")
        return self


class FeedbackConfig(StageConfig):
    """Who judges, how often, and on how many nights."""

    seed: int = Field(default=0, ge=0, description="seed of the world; it follows from the recipe's seed")
    judgments_per_comparison: int = Field(default=3, ge=1, description="annotators who judge each comparison")
    annotators: dict[str, int] = Field(
        default={"careful": 10, "hasty": 6, "side_biased": 3, "length_biased": 3, "random": 2},
        description=f"how many annotators there are of each temperament ({', '.join(TEMPERAMENTS)})",
    )
    experts: dict[str, int] = Field(
        default={},
        description="how many experts there are of each temperament: they judge every comparison, too, as often as the annotators do, and "
        "are called `expert-01` and so on; `aggregation.judge_annotators` says that the held-out judge learns from them",
    )
    gold_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="share of each slice's comparisons that are gold: their responses differ clearly",
    )
    repeat_share: float = Field(
        default=0.05, ge=0, le=1, description="share of judgments that their annotator gives again, in the other order"
    )
    nights: int = Field(default=1, ge=1, description="nights over which the judging of the prompts is spread, in equal parts")
    night: int = Field(default=1, ge=1, description="how many of the nights have been: what comes later is not judged yet")
    poison: PoisonConfig | None = Field(default=None, description="a night of bad feedback, to see it stopped")

    @field_validator("annotators", "experts")
    @classmethod
    def _are_known(cls, counts: dict[str, int]) -> dict[str, int]:
        if unknown := sorted(set(counts) - set(TEMPERAMENTS)):
            raise ValueError(f"there is no temperament {', '.join(unknown)}; there are {', '.join(TEMPERAMENTS)}")
        return counts

    @model_validator(mode="after")
    def _nights_are_there(self) -> "FeedbackConfig":
        if self.night > self.nights:
            raise ValueError(f"night {self.night} is not one of {self.nights} nights")
        if self.poison is not None and self.poison.night > self.nights:
            raise ValueError(f"poison.night {self.poison.night} is not one of {self.nights} nights")
        return self


def feedback(config: FeedbackConfig, pairs: Sequence[Pair]) -> Rows:
    """The judgments of all nights that have been, as rows of the native format; a night's rows do not depend on later ones."""
    ends = [len(pairs) * number // config.nights for number in range(config.nights + 1)]
    return [
        row for number in range(1, config.night + 1) for row in night_of_feedback(config, pairs[ends[number - 1] : ends[number]], number)
    ]


def night_of_feedback(config: FeedbackConfig, pairs: Sequence[Pair], night: int) -> Rows:
    """One night's judgments of its pairs."""
    rng = np.random.default_rng([config.seed, 1, night])
    poison = config.poison if config.poison and config.poison.night == night else None
    people = hire(config.annotators)
    if poison:
        people = at_random(people, poison.random_share, config.seed)
    each, repeated = config.judgments_per_comparison, config.repeat_share
    judged = partial(collect_judgments, pairs=list(pairs), each=each, day=night - 1, repeat_share=repeated)
    rows = list(judged(rng, people))
    if config.experts:
        rows += judged(np.random.default_rng([config.seed, 4, night]), hire(config.experts, "expert"))
    gold = chosen_gold(pairs, config.gold_share, np.random.default_rng([config.seed, 2, night]))
    return [_flipped(row, poison) | {"gold_verdict": gold.get((row["prompt"], row["response_a"], row["response_b"]))} for row in rows]


def at_random(people: Sequence[Annotator], share: float, seed: int) -> list[Annotator]:
    """The people with a share of them, rounded up, who throw dice instead of looking."""
    thrown = set(np.random.default_rng([seed, 3]).permutation(len(people))[: math.ceil(share * len(people))].tolist())
    return [replace(person, attention=0.0) if place in thrown else person for place, person in enumerate(people)]


def chosen_gold(pairs: Sequence[Pair], share: float, rng: np.random.Generator) -> Gold:
    """Gold verdicts of a share of each slice's pairs, or of as many as differ clearly, by prompt and responses."""
    chosen = {}
    for name in SLICES:
        ours = [pair for pair in pairs if pair.slice == name]
        clear = [(pair, verdict) for pair in ours if (verdict := gold_verdict(pair))]
        for place in rng.permutation(len(clear))[: round(share * len(ours))]:
            pair, verdict = clear[place]
            chosen[pair.prompt, pair.response_a, pair.response_b] = verdict
    return chosen


def _flipped(row: dict[str, object], poison: PoisonConfig | None) -> dict[str, object]:
    if poison is None or row["slice"] != poison.flipped_slice:
        return row
    return row | {"verdict": OTHER[str(row["verdict"])]}

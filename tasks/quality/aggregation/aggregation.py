"""Aggregation: the current judgments of each comparison become probabilities of a, b and tie, and each annotator gets a reliability.

Annotators are measured on all judgments of the kinds that count. Those whom a rule flags are then reported, down-weighted or
excluded, as the recipe says, and the probabilities are made with these weights. Judgments whose annotator is unknown are taken as one
annotator's, the average of a crowd; no rule flags them. Where the held-out judge is to learn from people of its own, both groups are
aggregated apart.
"""

import fnmatch
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from pydantic import Field

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.errors import RecipeError, examples
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.lake_views import current_comparisons, current_judgments, views_version
from data_contracts.manifest import Identity, library_versions, pinned_config
from data_contracts.parquet import write_records
from data_contracts.records import AGGREGATED, AGGREGATED_FOR_JUDGE_FILE, ANNOTATOR_KINDS, ANNOTATOR_RELIABILITY, FLAG
from tasks.quality.aggregation.bradley_terry import bradley_terry
from tasks.quality.aggregation.dawid_skene import Stopping, dawid_skene
from tasks.quality.aggregation.majority import majority
from tasks.quality.aggregation.paired_likelihood import Models
from tasks.quality.aggregation.spammers import SpammerRules, behaviour, flags
from tasks.quality.aggregation.verdicts import CATEGORIES, A, Aggregated, B, Floats, Verdicts
from tasks.quality.votes import votes_that_count
from tasks.stage import StageConfig, stage

Aggregator = Callable[[Verdicts], Aggregated]


class AggregationConfig(StageConfig):
    """How judgments are aggregated, and what is done about annotators who stand out."""

    aggregator: Literal["majority", "dawid_skene", "bradley_terry"] = Field(
        default="dawid_skene", description="model that makes probabilities of the verdicts; docs/aggregation.md compares them"
    )
    max_iterations: int = Field(default=200, ge=1, description="most iterations of the model's fit; the majority needs none")
    annotators: tuple[Literal["human", "model"], ...] = Field(
        default=("human",), min_length=1, description="whose judgments count: people's, judging models', or both"
    )
    judge_annotators: tuple[str, ...] = Field(
        default=(),
        description="ids of annotators, or patterns such as `expert-*`, from whom alone the held-out judge learns: their judgments make "
        "the preferences of the split `judge` and count nowhere else; by default everybody's count everywhere. Patterns are better: an id "
        "that is written here stays in manifests when its annotator is forgotten",
    )
    rules: SpammerRules = Field(default_factory=SpammerRules, description="when an annotator is flagged")
    flagged: Literal["report", "down_weight", "exclude"] = Field(
        default="report", description="what is done about flagged annotators: their judgments count in full, less, or not at all"
    )
    flagged_weight: float = Field(default=0.25, gt=0, lt=1, description="weight of a flagged annotator's judgment under `down_weight`")


def aggregate_judgments(home: Home, config: AggregationConfig, *, snapshot: Artifact) -> Made:
    """Aggregate a snapshot's current judgments."""
    identity = Identity(
        kind="aggregation",
        code_version=f"{code_version('tasks.quality.aggregation.aggregation')}-{views_version()}",
        libraries=library_versions(("duckdb", "numpy", "polars", "pyarrow", "scipy")),
        config=dict(pinned_config(config)),
        inputs=(snapshot.manifest.as_input("snapshot"),),
    )
    return home.artifacts.make(identity, lambda directory: _write_aggregation(directory, config, home, snapshot))


class Opinion(NamedTuple):
    """What some of the annotators say together."""

    votes: pl.DataFrame
    aggregated: pl.DataFrame
    annotators: pl.DataFrame
    flagged: pl.DataFrame
    measured: Aggregated
    converged: bool


def _write_aggregation(directory: Path, config: AggregationConfig, home: Home, snapshot: Artifact) -> Headline:
    pinned = FeedbackLake(home.lake).pinned(snapshot)
    votes = votes_that_count(pl.DataFrame(current_judgments(*pinned)), config.annotators)
    comparisons = pl.DataFrame(current_comparisons(*pinned))
    for_judge = of_the_judge(votes, config.judge_annotators)
    everyone = opinion(votes.filter(~for_judge), comparisons, config)
    opinions = [everyone]
    if config.judge_annotators:
        opinions.append(opinion(votes.filter(for_judge), comparisons, config))
        write_records(AGGREGATED, opinions[1].aggregated.to_arrow(), directory / AGGREGATED_FOR_JUDGE_FILE)
    write_records(AGGREGATED, everyone.aggregated.to_arrow(), directory / "aggregated.parquet")
    annotators, flagged = (pl.concat([getattr(one, name) for one in opinions]) for name in ("annotators", "flagged"))
    write_records(ANNOTATOR_RELIABILITY, annotators.to_arrow(), directory / "annotator_reliability.parquet")
    write_records(FLAG, flagged.to_arrow(), directory / "flagged_annotators.parquet")
    named = flagged["annotator_id"].unique().implode()
    return {
        "aggregator": config.aggregator,
        "comparisons": everyone.aggregated.height,
        "judgments_counted": everyone.votes.height,
        **({"judgments_for_judge": opinions[1].votes.height} if config.judge_annotators else {}),
        "annotators": annotators.height,
        "median_reliability": _rounded(annotators["reliability"].median()),
        "first_bias": _rounded(everyone.measured.first_bias),
        "iterations": everyone.measured.iterations,
        "converged": all(one.converged for one in opinions),
        "flagged_annotators": len(named.item()),
        "flagged_judgments": votes.filter(pl.col("annotator_id").is_in(named)).height,
        "flagged_action": config.flagged,
    }


def of_the_judge(votes: pl.DataFrame, patterns: Sequence[str]) -> pl.Series:
    """Which votes are of annotators from whom the held-out judge alone learns.

    Raises:
        RecipeError: a pattern is nobody's, or nobody else's votes are left.
    """
    people = votes["annotator_id"].drop_nulls().unique().sort().to_list()
    if unknown := [pattern for pattern in patterns if not fnmatch.filter(people, pattern)]:
        known = f"there are {examples(people)}" if people else "no judgment names its annotator"
        raise RecipeError(
            f"no annotator is called {', '.join(map(repr, unknown))}; {known}",
            where="aggregation.judge_annotators",
            remedy="give ids as they stand in the lake (pseudonyms, where the recipe asks for them): `overnight audit sql "
            "'select annotator_id from annotators'`",
        )
    chosen = {name for name in people if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)}
    found = votes["annotator_id"].is_in(list(chosen)).fill_null(False)
    if patterns and found.all():
        raise RecipeError(
            "the held-out judge would learn from all annotators, and the reward model from none",
            where="aggregation.judge_annotators",
            remedy="name fewer of them",
        )
    return found


def opinion(votes: pl.DataFrame, comparisons: pl.DataFrame, config: AggregationConfig) -> Opinion:
    """Measure the annotators of some votes, and make probabilities with the weights that the recipe then gives them."""
    votes = in_order(votes)
    aggregator = aggregator_of(config, votes, comparisons)
    verdicts = verdicts_of(votes)
    measured = aggregator(verdicts)
    annotators = reliability_table(votes, measured)
    flagged = flags(annotators, config.rules, config.flagged)
    annotators = annotators.with_columns(weight=_weights(flagged, config))
    counted = verdicts.weighted(np.concatenate([annotators["weight"].to_numpy(), np.ones(len(ANNOTATOR_KINDS))]))
    final = measured if config.flagged == "report" or flagged.is_empty() else aggregator(counted)
    aggregated = aggregated_table(votes, counted, final.probabilities)
    return Opinion(votes, aggregated, annotators, flagged, measured, measured.converged and final.converged)


def _rounded(value: object) -> float | None:
    return round(value, 3) if isinstance(value, float) and math.isfinite(value) else None


def in_order(votes: pl.DataFrame) -> pl.DataFrame:
    """The votes by comparison and annotator, so that sums are the same whatever the order of delivery; with numbers for both.

    Votes of nobody known get the numbers after the annotators', one for people and one for models.
    """
    people = pl.col("annotator_id").rank("dense").cast(pl.Int64)
    nobody = pl.col("annotator_id").n_unique() - pl.col("annotator_id").is_null().any()
    kind = pl.col("annotator_kind").replace_strict({kind: place for place, kind in enumerate(ANNOTATOR_KINDS)}, return_dtype=pl.Int64)
    return votes.sort("comparison_id", "annotator_id", "judgment_id").with_columns(
        comparison=pl.col("comparison_id").rank("dense").cast(pl.Int64) - 1,
        annotator=pl.coalesce(people - 1, nobody + kind),
    )


def verdicts_of(votes: pl.DataFrame) -> Verdicts:
    """The ordered votes as arrays."""
    places = {category: place for place, category in enumerate(CATEGORIES)}
    first = pl.col("presented_first").replace_strict({"a": 1.0, "b": -1.0}, default=0.0, return_dtype=pl.Float64).fill_null(0.0)
    columns = votes.select("comparison", "annotator", pl.col("verdict").replace_strict(places, return_dtype=pl.Int64), first=first)
    return Verdicts.of(
        *(columns[name].to_numpy() for name in ("comparison", "annotator", "verdict", "first")),
        n_comparisons=votes["comparison_id"].n_unique(),
        n_annotators=votes["annotator_id"].drop_nulls().n_unique() + len(ANNOTATOR_KINDS),
    )


def aggregator_of(config: AggregationConfig, votes: pl.DataFrame, comparisons: pl.DataFrame) -> Aggregator:
    """The recipe's aggregator, with what it has to know of the comparisons."""
    if config.aggregator == "majority":
        return majority
    if config.aggregator == "dawid_skene":
        return partial(dawid_skene, stopping=Stopping(max_iterations=config.max_iterations))
    return partial(bradley_terry, models=models_of(votes, comparisons), max_iterations=config.max_iterations)


def models_of(votes: pl.DataFrame, comparisons: pl.DataFrame) -> Models:
    """Which models the voted comparisons compare, in the comparisons' order."""
    judged = votes.select("comparison_id", "comparison").unique().sort("comparison")
    sides = judged.join(comparisons, on="comparison_id", how="left", maintain_order="left").select("model_a", "model_b")
    names = pl.concat([sides["model_a"], sides["model_b"]]).drop_nulls().unique().sort()
    number = {name: place for place, name in enumerate(names)}
    of_a, of_b = (sides[side].replace_strict(number, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy() for side in sides.columns)
    return Models(of_a, of_b, len(names))


def reliability_table(votes: pl.DataFrame, measured: Aggregated) -> pl.DataFrame:
    """What annotators did, with their reliability and its interval."""
    found = behaviour(votes)
    columns = zip(("reliability", "standard_error", "low", "high"), measured.reliability, strict=True)
    return found.with_columns(pl.Series(name, values[: found.height], dtype=pl.Float64) for name, values in columns)


def _weights(flagged: pl.DataFrame, config: AggregationConfig) -> pl.Expr:
    weight = {"report": 1.0, "down_weight": config.flagged_weight, "exclude": 0.0}[config.flagged]
    return pl.when(pl.col("annotator_id").is_in(flagged["annotator_id"].unique().implode())).then(weight).otherwise(1.0)


def aggregated_table(votes: pl.DataFrame, counted: Verdicts, probabilities: Floats) -> pl.DataFrame:
    """One row per comparison, by id."""
    n = counted.n_comparisons
    a, tie, b = probabilities.T
    table = votes.select(pl.col("comparison_id").unique().sort()).with_columns(
        probability_a=pl.Series(a, dtype=pl.Float64),
        probability_b=pl.Series(b, dtype=pl.Float64),
        probability_tie=pl.Series(tie, dtype=pl.Float64),
        n_judgments=pl.Series(np.bincount(counted.comparison, minlength=n), dtype=pl.Int64),
        n_a=pl.Series(np.bincount(counted.comparison[counted.verdict == A], minlength=n), dtype=pl.Int64),
        n_b=pl.Series(np.bincount(counted.comparison[counted.verdict == B], minlength=n), dtype=pl.Int64),
        weight=pl.Series(np.bincount(counted.comparison, counted.weight, n), dtype=pl.Float64),
    )
    heard = votes.filter(pl.col("annotator").is_in(np.unique(counted.annotator)))
    return table.join(strengths(heard), on="comparison_id", how="left", maintain_order="left")


def strengths(votes: pl.DataFrame) -> pl.DataFrame:
    """By comparison strength_a, the mean strength of the votes that have one: above 0 where it is for a, a tie being 0."""
    direction = pl.col("verdict").replace_strict({"a": 1.0, "b": -1.0, "tie": 0.0}, return_dtype=pl.Float64)
    return votes.group_by("comparison_id").agg(strength_a=(direction * pl.col("preference_strength")).mean())


aggregation_stage = stage("aggregation")(aggregate_judgments)

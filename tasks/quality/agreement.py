"""Agreement: how far annotators agree with each other, which side they favour, and who stands apart.

Human judgments only, in canonical orientation, unfiltered. Where an annotator judged a comparison more than once the latest
judgment counts: nobody is paired with himself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.lake_views import current_comparisons, current_judgments, views_version
from data_contracts.manifest import Identity, library_versions, pinned_config
from data_contracts.parquet import write_table
from data_contracts.records import AGREEMENT_FIGURE, ALL_SLICES
from models.randomness import generator
from tasks.quality.agreement_figures import (
    Array,
    CountTable,
    clustered_share,
    cohen_kappa,
    fleiss_kappa,
    gwet_coefficient,
    interval,
    krippendorff_alpha,
    leave_one_out_agreement,
    n_leave_one_out,
    n_pairs,
    ordinal_agreement,
    pairwise_agreement,
)
from tasks.quality.votes import votes_that_count
from tasks.stage import StageConfig, stage

CATEGORIES = ("a", "tie", "b")
DECIDED = (0, 2)


class AgreementConfig(StageConfig):
    """How agreement is measured."""

    seed: int = Field(default=0, ge=0, description="seed of the bootstrap")
    resamples: int = Field(default=1000, ge=100, description="bootstrap resamples behind each interval")


@dataclass(frozen=True)
class Figure:
    """One figure of agreement with its 95 % interval; None is undefined, and intervals are given where they are asked for."""

    slice: str
    figure: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    """How many comparisons, pairs, judgments or triads the figure rests on."""


def measure_agreement(home: Home, config: AgreementConfig, *, snapshot: Artifact) -> Made:
    """Measure the agreement of a snapshot's current human judgments."""
    identity = Identity(
        kind="agreement",
        code_version=f"{code_version('tasks.quality.agreement')}-{views_version()}",
        libraries=library_versions(("duckdb", "numpy", "polars", "pyarrow")),
        config=dict(pinned_config(config)),
        inputs=(snapshot.manifest.as_input("snapshot"),),
    )
    return home.artifacts.make(identity, lambda directory: _write_agreement(directory, config, home, snapshot))


def _write_agreement(directory: Path, config: AgreementConfig, home: Home, snapshot: Artifact) -> Headline:
    pinned = FeedbackLake(home.lake).pinned(snapshot)
    votes = human_votes(pl.DataFrame(current_judgments(*pinned)), pl.DataFrame(current_comparisons(*pinned)))
    figures = agreement_figures(votes, config)
    annotators = annotator_table(votes)
    write_table(AGREEMENT_FIGURE.table([figure.__dict__ for figure in figures]), directory / "agreement.parquet")
    write_table(annotators.to_arrow(), directory / "annotators.parquet")
    write_table(annotator_pairs(votes).to_arrow(), directory / "annotator_pairs.parquet")
    overall = {figure.figure: figure for figure in figures if figure.slice == ALL_SLICES}
    alpha = overall["krippendorff_alpha"]
    return {
        "krippendorff_alpha": alpha.value,
        "krippendorff_alpha_low": alpha.low,
        "krippendorff_alpha_high": alpha.high,
        "raw_agreement": overall["raw_agreement"].value,
        "judgments": votes.height,
        "annotators": annotators.height,
    }


def human_votes(judgments: pl.DataFrame, comparisons: pl.DataFrame) -> pl.DataFrame:
    """The votes of people that count, with what they judged, by judgment id."""
    about = comparisons.select("comparison_id", "prompt_id", "slice", "response_a", "response_b", "model_a", "model_b")
    return votes_that_count(judgments, ("human",)).join(about, on="comparison_id", how="inner").sort("judgment_id")


def agreement_figures(votes: pl.DataFrame, config: AgreementConfig) -> list[Figure]:
    """Every figure of all votes together, then alpha and raw agreement of each slice."""
    figures = [*_from_counts(ALL_SLICES, votes, COUNT_FIGURES, config), _presented_first(votes, config), _cyclic_triads(votes)]
    for name in sorted(votes["slice"].unique()):
        figures += _from_counts(name, votes.filter(pl.col("slice") == name), SLICE_FIGURES, config)
    return figures


def vote_counts(votes: pl.DataFrame) -> pl.DataFrame:
    """One row per comparison, by id: how many votes each category got, and the margin of a over b."""
    counts = [(pl.col("verdict") == category).sum().cast(pl.Int64).alias(f"n_{category}") for category in CATEGORIES]
    counted = votes.group_by("comparison_id").agg(counts).sort("comparison_id")
    return counted.with_columns(margin=pl.col("n_a") - pl.col("n_b"))


@dataclass(frozen=True)
class CountFigure:
    """A figure that follows from the votes' counts."""

    name: str
    value: Callable[[Array, Array], Array]
    n: Callable[[Array, Array], int]
    """What `n` counts; both functions take counts and weights."""
    ties: bool = True
    """Whether ties are counted as votes, or left out."""


def n_comparisons(counts: Array, weights: Array) -> int:
    """Comparisons with two votes or more."""
    return int(weights @ (counts.sum(axis=1) >= 2))


SLICE_FIGURES = (
    CountFigure("krippendorff_alpha", partial(krippendorff_alpha, metric="nominal"), n_comparisons),
    CountFigure("raw_agreement", pairwise_agreement, n_pairs),
)
COUNT_FIGURES = (
    *SLICE_FIGURES,
    CountFigure("raw_agreement_without_ties", pairwise_agreement, n_pairs, ties=False),
    CountFigure("krippendorff_alpha_ordinal", partial(krippendorff_alpha, metric="ordinal"), n_comparisons),
    CountFigure("krippendorff_alpha_interval", partial(krippendorff_alpha, metric="interval"), n_comparisons),
    CountFigure("gwet_ac1", partial(gwet_coefficient, agreement=np.eye(len(CATEGORIES))), n_comparisons),
    CountFigure("gwet_ac2_ordinal", partial(gwet_coefficient, agreement=ordinal_agreement(len(CATEGORIES))), n_comparisons),
    CountFigure("fleiss_kappa", fleiss_kappa, n_comparisons),
    CountFigure("leave_one_out_agreement", leave_one_out_agreement, n_leave_one_out),
)


def _from_counts(name: str, votes: pl.DataFrame, figures: tuple[CountFigure, ...], config: AgreementConfig) -> list[Figure]:
    """Figures of one slice, each with its interval from resampling comparisons."""
    table = CountTable.of(vote_counts(votes).select(f"n_{category}" for category in CATEGORIES).to_numpy())
    resampled = table.resampled(generator(config.seed, "agreement", name), config.resamples)
    found = []
    for figure in figures:
        counts = table.counts if figure.ties else table.counts[:, DECIDED]
        value, (low, high) = figure.value(counts, table.weights), interval(figure.value(counts, resampled))
        found.append(Figure(name, figure.name, _defined(value), _defined(low), _defined(high), figure.n(counts, table.weights)))
    return found


def _presented_first(votes: pl.DataFrame, config: AgreementConfig) -> Figure:
    """Share of decided votes for the response that stood first; the interval resamples annotators with all their votes."""
    decided = votes.filter(pl.col("presented_first").is_not_null() & (pl.col("verdict") != "tie"))
    who = pl.struct("annotator_id", pl.when(pl.col("annotator_id").is_null()).then("judgment_id"))
    clusters = (
        decided.group_by(who.alias("who"), maintain_order=True).agg(first=_chose_first().sum(), total=pl.len()).select("first", "total")
    )
    first, total = (clusters.sort("first", "total")[name].to_numpy().astype(np.float64) for name in clusters.columns)
    value, low, high = clustered_share(first, total, generator(config.seed, "presented first"), config.resamples)
    return Figure(ALL_SLICES, "presented_first_share", _defined(value), _defined(low), _defined(high), decided.height)


def _chose_first() -> pl.Expr:
    return pl.col("verdict") == pl.col("presented_first")


def _cyclic_triads(votes: pl.DataFrame) -> Figure:
    """Share of cyclic triads among three responses to one prompt whose three majorities are all decided."""
    edges = _majorities(votes)
    xy = edges.rename({"low": "x", "high": "y", "sign": "xy"})
    yz = edges.rename({"low": "y", "high": "z", "sign": "yz"})
    xz = edges.rename({"low": "x", "high": "z", "sign": "xz"})
    triads = xy.join(yz, on="y").join(xz, on=["x", "z"])
    cyclic = triads.filter((pl.col("xy") == pl.col("yz")) & (pl.col("xy") != pl.col("xz"))).height
    share = cyclic / triads.height if triads.height else None
    return Figure(ALL_SLICES, "cyclic_triad_share", share, None, None, triads.height)


def _majorities(votes: pl.DataFrame) -> pl.DataFrame:
    """Decided majorities between responses (a model's text for a prompt): low, high, and sign, 1 where low was preferred."""
    about = votes.select("comparison_id", "prompt_id", "response_a", "response_b", "model_a", "model_b").unique("comparison_id")
    pairs = vote_counts(votes).join(about.drop_nulls(["response_a", "response_b"]), on="comparison_id")
    sides = [pairs.select("prompt_id", model=f"model_{side}", response=f"response_{side}") for side in ("a", "b")]
    nodes = pl.concat(sides).unique().sort("prompt_id", "model", "response").with_row_index("node")
    for side in ("a", "b"):
        named = nodes.rename({"node": f"node_{side}", "model": f"model_{side}", "response": f"response_{side}"})
        pairs = pairs.join(named, on=["prompt_id", f"model_{side}", f"response_{side}"], nulls_equal=True)
    turned = pl.col("node_a") > pl.col("node_b")
    edges = pairs.select(
        low=pl.min_horizontal("node_a", "node_b"),
        high=pl.max_horizontal("node_a", "node_b"),
        margin=pl.when(turned).then(-pl.col("margin")).otherwise("margin"),
    )
    summed = edges.filter(pl.col("low") != pl.col("high")).group_by("low", "high").agg(sign=pl.col("margin").sum().sign())
    return summed.filter(pl.col("sign") != 0)


def annotator_table(votes: pl.DataFrame) -> pl.DataFrame:
    """One row per annotator, by id: how much, how fast, on which side, and how often with the majority of the others."""
    named = votes.filter(pl.col("annotator_id").is_not_null())
    choice = (pl.col("verdict") == "a").cast(pl.Int64) - (pl.col("verdict") == "b").cast(pl.Int64)
    others = named.join(vote_counts(votes), on="comparison_id").with_columns(choice=choice, others=pl.col("margin") - choice)
    decided = pl.col("choice") != 0
    compared = decided & (pl.col("others") != 0)
    first_known = decided & pl.col("presented_first").is_not_null()
    return (
        others.group_by("annotator_id")
        .agg(
            n_judgments=pl.len().cast(pl.Int64),
            majority_agreement=(pl.col("choice") == pl.col("others").sign()).filter(compared).mean(),
            n_majority=compared.sum().cast(pl.Int64),
            presented_first_share=_chose_first().filter(first_known).mean(),
            tie_share=(~decided).mean(),
            median_seconds=pl.col("seconds_spent").median(),
        )
        .sort("annotator_id")
    )


def annotator_pairs(votes: pl.DataFrame) -> pl.DataFrame:
    """One row per pair of annotators who judged a comparison in common, by ids: raw agreement and Cohen's kappa there."""
    named = votes.filter(pl.col("annotator_id").is_not_null()).select("comparison_id", "annotator_id", "verdict")
    both = named.join(named, on="comparison_id", suffix="_2").filter(pl.col("annotator_id") < pl.col("annotator_id_2"))
    cells = [
        ((pl.col("verdict") == one) & (pl.col("verdict_2") == other)).sum().cast(pl.Float64).alias(f"{one}/{other}")
        for one in CATEGORIES
        for other in CATEGORIES
    ]
    tables = both.group_by("annotator_id", "annotator_id_2").agg(pl.len().cast(pl.Int64).alias("n_comparisons"), *cells)
    tables = tables.sort("annotator_id", "annotator_id_2")
    contingency = tables.select(pl.exclude("annotator_id", "annotator_id_2", "n_comparisons")).to_numpy().reshape(-1, 3, 3)
    return tables.select(
        pl.col("annotator_id").alias("annotator_1"),
        pl.col("annotator_id_2").alias("annotator_2"),
        "n_comparisons",
        raw_agreement=pl.Series([float(np.trace(table) / table.sum()) for table in contingency], dtype=pl.Float64),
        cohen_kappa=pl.Series([_defined(cohen_kappa(table)) for table in contingency], dtype=pl.Float64),
    )


def _defined(value: Array | float) -> float | None:
    """The value, or None where it is undefined."""
    return None if math.isnan(value) else float(value)


agreement_stage = stage("agreement")(measure_agreement)

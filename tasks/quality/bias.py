"""Bias that shows in all judgments together: length, unequal volume and ties, and what a long sitting does."""

from collections.abc import Iterator

import duckdb
import polars as pl

from models.randomness import generator
from tasks.quality.agreement import Bootstrap
from tasks.quality.figures.clusters import clustered_ratio
from tasks.quality.figures.length import LengthTable, length_coefficient
from tasks.quality.figures.spread import effective_number, gini, spread_beyond_chance, top_share
from tasks.quality.rows import UNKNOWN, Figure
from tasks.quality.working_tables import rows

PER_JUDGMENTS = 100
"""Slopes within a sitting are given per this many judgments."""
SLOPES = {
    "fatigue_agreement_slope": ("agreement_xy", "agreement_xx", "n_agreement"),
    "fatigue_log_seconds_slope": ("speed_xy", "speed_xx", "n_speed"),
}


def length_figure(connection: duckdb.DuckDBPyConnection) -> Figure:
    """The coefficient of the length difference, the models' quality held fixed."""
    found = rows(connection, "length")
    names = pl.concat([found["model_a"], found["model_b"]]).drop_nulls().unique().sort()
    numbers = dict(zip(names, range(names.len()), strict=True))
    model_a, model_b = (
        found[column].replace_strict(numbers, default=-1, return_dtype=pl.Int64).to_numpy() for column in ("model_a", "model_b")
    )
    z, n_a, n, comparisons = (found[column].cast(pl.Float64).to_numpy() for column in ("z", "n_a", "n", "comparisons"))
    return Figure.of("length_coefficient", length_coefficient(LengthTable(model_a, model_b, z, n_a, n, comparisons)), comparisons.sum())


def spread_figures(people: pl.DataFrame) -> Iterator[Figure]:
    """How unequal annotators are, from one row per annotator with `n_judgments` and `n_ties`."""
    volumes, ties = (people[column].cast(pl.Float64).to_numpy() for column in ("n_judgments", "n_ties"))
    for name, value in (
        ("tie_share_spread", spread_beyond_chance(ties, volumes)),
        ("top_annotators_share", top_share(volumes)),
        ("effective_annotators", effective_number(volumes)),
        ("volume_gini", gini(volumes)),
    ):
        yield Figure.of(name, (value, *UNKNOWN), volumes.size)


def fatigue_figures(sittings: pl.DataFrame, bootstrap: Bootstrap) -> Iterator[Figure]:
    """Slopes within sittings, of all annotators together; intervals resample annotators."""
    for name, (xy, xx, n) in SLOPES.items():
        top, bottom = (sittings[column].cast(pl.Float64).to_numpy() for column in (xy, xx))
        told = clustered_ratio(PER_JUDGMENTS * top, bottom, generator(bootstrap.seed, name), bootstrap.resamples)
        yield Figure.of(name, told, sittings[n].cast(pl.Float64).to_numpy().sum())

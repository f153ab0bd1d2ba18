"""Consistency: whether annotators agree with themselves, and whether preferences run in circles."""

from collections.abc import Iterator

import duckdb
import polars as pl

from models.randomness import generator
from tasks.quality.agreement import Bootstrap
from tasks.quality.figures.agreement import ratio
from tasks.quality.figures.clusters import clustered_ratio
from tasks.quality.rows import UNKNOWN, Figure
from tasks.quality.working_tables import rows

SELF = {
    "self_agreement": ("n_agreeing", "n_pairs"),
    "self_agreement_same_order": ("n_same_agreeing", "n_same"),
    "self_agreement_swapped_order": ("n_swapped_agreeing", "n_swapped"),
}
"""The sums that each figure is the ratio of."""


def repeats_by_annotator(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """One row per annotator who judged a pair of responses several times, see `self_agreement.sql`."""
    return rows(connection, "self_agreement")


def triads_by_annotator(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """One row per annotator with triads among his or her own decided judgments: how many, and how many are cyclic."""
    judgments = "(select annotator, comparison, choice as margin from votes where annotator is not null)"
    return rows(connection, "triads", who="annotator", rows=judgments).rename({"who": "annotator"})


def consistency_figures(
    connection: duckdb.DuckDBPyConnection, repeats: pl.DataFrame, triads: pl.DataFrame, bootstrap: Bootstrap
) -> Iterator[Figure]:
    """Self-agreement, and cyclic triads of the majority and of the annotators."""
    for name, (agreeing, pairs) in SELF.items():
        yield _clustered(name, repeats[agreeing], repeats[pairs], bootstrap)
    majority = rows(connection, "triads", who="0", rows="(select comparison, n_a - n_b as margin from counted)")
    cyclic, n = (majority[column].cast(pl.Float64).to_numpy().sum() for column in ("cyclic_triads", "n_triads"))
    yield Figure.of("cyclic_triad_share", (float(ratio(cyclic, n)), *UNKNOWN), n)
    yield _clustered("annotator_cyclic_triad_share", triads["cyclic_triads"], triads["n_triads"], bootstrap)


def _clustered(name: str, numerators: pl.Series, denominators: pl.Series, bootstrap: Bootstrap) -> Figure:
    top, bottom = (series.cast(pl.Float64).to_numpy() for series in (numerators, denominators))
    return Figure.of(name, clustered_ratio(top, bottom, generator(bootstrap.seed, name), bootstrap.resamples), bottom.sum())

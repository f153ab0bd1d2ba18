"""Shares of judgments, such as ties or choices of what stood first, by slice; intervals resample annotators.

Annotators who are not known are each an annotator of their own. A share that rests on one annotator has no interval.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import polars as pl
from scipy import sparse

from data_contracts.records import ALL_SLICES
from models.randomness import generator
from tasks.quality.agreement import Bootstrap
from tasks.quality.figures.agreement import Array, interval, ratio
from tasks.quality.figures.clusters import resampled_counts, resampled_sums
from tasks.quality.rows import Figure
from tasks.quality.slices import RECENT, TRAILING, Slices
from tasks.quality.working_tables import rows

SHARES = {
    "tie_share": ("n_ties", "n_judgments"),
    "presented_first_share": ("n_first", "n_presented"),
    "longer_preferred_share": ("n_longer", "n_lengths"),
    "gold_passed_share": ("n_gold_passed", "n_gold"),
    "contradiction_share": ("n_contradictions", "n_strength"),
    "near_identical_decided_share": ("n_near_decided", "n_near"),
    "near_identical_strong_share": ("n_near_strong", "n_near_strength"),
    "geometric_mean_seconds": ("log_seconds", "n_seconds"),
}
"""The sums that each figure is the ratio of."""
SECONDS = "geometric_mean_seconds"
CHANGES = {"tie_share": "tie_share_change", "presented_first_share": "presented_first_share_change", SECONDS: "log_seconds_change"}
SUMS = sorted({name for names in SHARES.values() for name in names})


@dataclass(frozen=True)
class Ratio:
    """A ratio of sums with the values that it takes on resampled annotators; no interval where fewer than two are behind it."""

    value: float
    resamples: Array
    n: float

    @property
    def told(self) -> tuple[float, float, float]:
        """Value and ends of the interval."""
        return self.value, *interval(self.resamples)


def sums_by_annotator(connection: duckdb.DuckDBPyConnection, slices: Slices) -> pl.DataFrame:
    """The sums behind every share, one row per kind of slice, slice and annotator; those who are not known together are null."""
    found = [
        rows(connection, "shares", slice=column).filter(pl.col("slice").is_in(slices.kept[kind])).with_columns(slice_kind=pl.lit(kind))
        for kind, column in slices.columns.items()
    ]
    return pl.concat(found)


def share_figures(sums: pl.DataFrame, bootstrap: Bootstrap) -> Iterator[Figure]:
    """Every share of every slice that has something to rest on, and of all judgments in any case; and their changes of late."""
    found = _ratios(sums, bootstrap)
    for (kind, part, name), one in found.items():
        if one.n or kind == ALL_SLICES:
            value, low, high = one.told if name != SECONDS else map(np.exp, one.told)
            yield Figure.of(name, (value, low, high), one.n, (kind, part))
    for name, change in CHANGES.items():
        recent, trailing = (found.get(("period", period, name)) for period in (RECENT, TRAILING))
        if recent is None or trailing is None:
            yield Figure.of(change, (float("nan"),) * 3, 0)
        else:
            yield Figure.of(change, (recent.value - trailing.value, *interval(recent.resamples - trailing.resamples)), recent.n)


def _ratios(sums: pl.DataFrame, bootstrap: Bootstrap) -> dict[tuple[str, str, str], Ratio]:
    """Every share of every slice, by kind, slice and figure."""
    parts = sums.select("slice_kind", "slice").unique(maintain_order=True).with_row_index("part")
    placed = sums.join(parts, on=["slice_kind", "slice"], maintain_order="left")
    known = placed.filter(pl.col("annotator").is_not_null())
    drawn = _resampled_known(known, parts.height, bootstrap)
    unknown = {row["part"]: row for row in placed.filter(pl.col("annotator").is_null()).iter_rows(named=True)}
    totals = placed.group_by("part").agg(pl.col(SUMS).sum()).sort("part")
    people = known.group_by("part").agg((pl.col(name) > 0).sum().alias(name) for name in SUMS)
    counted = {row["part"]: row for row in people.iter_rows(named=True)}
    found = {}
    for (part, kind, name), total in zip(parts.iter_rows(), totals.iter_rows(named=True), strict=True):
        rng = generator(bootstrap.seed, "unknown annotators", kind, name)
        for figure in SHARES:
            found[kind, name, figure] = _ratio(figure, total, drawn[:, part], counted.get(part, {}), unknown.get(part), rng)
    return found


Sums = Mapping[str, Any]
"""Numbers by the name of the sum."""


def _ratio(figure: str, total: Sums, drawn: Array, people: Sums, unknown: Sums | None, rng: np.random.Generator) -> Ratio:
    """One share of one slice: `drawn`, shape (resamples, sums), is of the annotators who are known, of whom `people` have a part in it."""
    numerator, denominator = SHARES[figure]
    top, bottom = (drawn[:, SUMS.index(name)] for name in (numerator, denominator))
    clusters = people.get(denominator, 0)
    if unknown and figure != SECONDS:
        ones, judgments = unknown[numerator], unknown[denominator]
        more_top, more_bottom = resampled_counts(ones, judgments - ones, rng, len(drawn))
        top, bottom, clusters = top + more_top, bottom + more_bottom, clusters + judgments
    resamples = ratio(top, bottom) if clusters >= 2 else np.full(len(drawn), np.nan)
    return Ratio(float(ratio(total[numerator], total[denominator])), resamples, total[denominator])


def _resampled_known(known: pl.DataFrame, n_parts: int, bootstrap: Bootstrap) -> Array:
    """Sums over resampled annotators, shape (resamples, parts, sums); every part sees the same annotators."""
    people = known["annotator"].unique().sort()
    place = known["annotator"].replace_strict(people, pl.int_range(people.len(), eager=True), return_dtype=pl.Int64).to_numpy()
    values = known.select(pl.col(SUMS).cast(pl.Float64)).to_numpy()
    columns = known["part"].to_numpy().astype(np.int64)[:, None] * len(SUMS) + np.arange(len(SUMS))
    table = sparse.csr_array((values.ravel(), (np.repeat(place, len(SUMS)), columns.ravel())), shape=(people.len(), n_parts * len(SUMS)))
    drawn = resampled_sums(table, generator(bootstrap.seed, "annotators"), bootstrap.resamples)
    return drawn.reshape(bootstrap.resamples, n_parts, len(SUMS))

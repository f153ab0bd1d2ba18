"""Agreement between people, and between people and models, from how many comparisons have which counts of verdicts.

In canonical orientation, and one judgment per annotator and comparison: nobody is paired with himself. Intervals resample
comparisons.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import duckdb
import numpy as np
import polars as pl

from models.randomness import generator
from tasks.quality.figures.agreement import (
    Array,
    CountTable,
    cohen_kappas,
    fleiss_kappa,
    gwet_coefficient,
    interval,
    krippendorff_alpha,
    leave_one_out_agreement,
    macro_agreement,
    n_comparisons,
    n_leave_one_out,
    n_pairs,
    ordinal_agreement,
    pairwise_agreement,
    ratio,
)
from tasks.quality.rows import Figure
from tasks.quality.slices import OF_COMPARISONS, RECENT, TRAILING, Slices
from tasks.quality.working_tables import rows

CATEGORIES = ("a", "tie", "b")
COUNTS = ("n_a", "n_tie", "n_b")
DECIDED = (0, 2)
FILTER = "filter"
EVERY, WITHOUT_EXCLUDED = "every_judgment", "without_excluded_annotators"
CHANGES = ("krippendorff_alpha", "leave_one_out_agreement")


@dataclass(frozen=True)
class CountFigure:
    """A figure that follows from the judgments' counts."""

    value: Callable[[Array, Array], Array]
    n: Callable[[Array, Array], int]
    """What `n` counts; both functions take counts and weights."""
    ties: bool = True
    """Whether ties are counted as judgments, or left out."""


COUNT_FIGURES = {
    "krippendorff_alpha": CountFigure(partial(krippendorff_alpha, metric="nominal"), n_comparisons),
    "raw_agreement": CountFigure(pairwise_agreement, n_pairs),
    "raw_agreement_without_ties": CountFigure(pairwise_agreement, n_pairs, ties=False),
    "raw_agreement_macro": CountFigure(macro_agreement, n_comparisons),
    "raw_agreement_macro_without_ties": CountFigure(macro_agreement, n_comparisons, ties=False),
    "krippendorff_alpha_ordinal": CountFigure(partial(krippendorff_alpha, metric="ordinal"), n_comparisons),
    "krippendorff_alpha_interval": CountFigure(partial(krippendorff_alpha, metric="interval"), n_comparisons),
    "gwet_ac1": CountFigure(partial(gwet_coefficient, agreement=np.eye(len(CATEGORIES))), n_comparisons),
    "gwet_ac2_ordinal": CountFigure(partial(gwet_coefficient, agreement=ordinal_agreement(len(CATEGORIES))), n_comparisons),
    "fleiss_kappa": CountFigure(fleiss_kappa, n_comparisons),
    "leave_one_out_agreement": CountFigure(leave_one_out_agreement, n_leave_one_out),
}


@dataclass(frozen=True)
class Resampled:
    """A figure with the values that it takes on resampled comparisons."""

    value: float
    resamples: Array
    n: int

    @property
    def told(self) -> tuple[float, float, float]:
        """Value and ends of the interval."""
        return self.value, *interval(self.resamples)


@dataclass(frozen=True)
class Bootstrap:
    """How comparisons are resampled."""

    seed: int
    resamples: int

    def figures(self, part: tuple[str, str], counts: Array, weights: Array) -> dict[str, Resampled]:
        """Every figure of one slice: `counts`, shape (G, 3), of `weights` comparisons each, shape (G,)."""
        drawn = CountTable(counts, weights).resampled(generator(self.seed, "agreement", *part), self.resamples)
        found = {}
        if n_comparisons(counts, weights) < 2:
            drawn = np.full_like(drawn, np.nan)  # a single comparison says nothing about others
        for name, figure in COUNT_FIGURES.items():
            chosen = counts if figure.ties else counts[:, DECIDED]
            found[name] = Resampled(float(figure.value(chosen, weights)), figure.value(chosen, drawn), figure.n(chosen, weights))
        return found


def agreement_figures(
    connection: duckdb.DuckDBPyConnection, slices: Slices, bootstrap: Bootstrap, excluded: Sequence[str] = ()
) -> Iterator[Figure]:
    """Agreement between people of every slice, its change of late, and what filters do to it.

    Args:
        connection: a database with the working tables.
        slices: the slices that get figures.
        bootstrap: how comparisons are resampled.
        excluded: annotators whose judgments a later stage leaves out; their effect is reported, nothing else is without them.
    """
    periods = {}
    for part, counts, weights in patterns(connection, slices, excluded):
        found = bootstrap.figures(part, counts, weights)
        if part[0] == "period":
            periods[part[1]] = found
        for name, figure in found.items():
            yield Figure.of(name, figure.told, figure.n, part)
    yield from _changes(periods)


def patterns(
    connection: duckdb.DuckDBPyConnection, slices: Slices, excluded: Sequence[str] = ()
) -> Iterator[tuple[tuple[str, str], Array, Array]]:
    """Of each slice its kind and name, the counts that its comparisons have, (G, 3), and how many have them, (G,)."""
    for kind, column in slices.columns.items():
        if kind in OF_COMPARISONS:
            found = rows(connection, "comparison_patterns", slice=column)
        else:
            found = rows(connection, "patterns", slice=column, rows="votes where true")
        yield from _tables(kind, found.filter(pl.col("slice").is_in(slices.kept[kind])))
    filters = {EVERY: "judged where human"}
    if excluded:
        connection.register("excluded", pl.DataFrame({"annotator_id": excluded}).to_arrow())
        named = "select annotator_id from excluded"
        filters[WITHOUT_EXCLUDED] = f"votes where (annotator is null or annotator::varchar not in ({named}))"
    for name, judgments in filters.items():
        yield from _tables(FILTER, rows(connection, "patterns", slice=f"'{name}'", rows=judgments))
    yield from _tables("annotator_kind", rows(connection, "patterns", slice="'model'", rows="chosen where not human"))


def _tables(kind: str, found: pl.DataFrame) -> Iterator[tuple[tuple[str, str], Array, Array]]:
    for (name,), table in found.group_by("slice", maintain_order=True):
        yield (kind, str(name)), table.select(COUNTS).to_numpy().astype(np.float64), table["comparisons"].to_numpy().astype(np.float64)


def _changes(periods: dict[str, dict[str, Resampled]]) -> Iterator[Figure]:
    for name in CHANGES:
        told, n = (float("nan"),) * 3, 0
        if len(periods) == 2:
            recent, trailing = periods[RECENT][name], periods[TRAILING][name]
            told = recent.value - trailing.value, *interval(recent.resamples - trailing.resamples)
            n = recent.n
        yield Figure.of(f"{name}_change", told, n)


def human_model_figures(connection: duckdb.DuckDBPyConnection, bootstrap: Bootstrap) -> Iterator[Figure]:
    """How far each model that judges agrees with the people who judged the same comparisons."""
    for (judge,), found in rows(connection, "human_model").group_by("slice", maintain_order=True):
        part = ("judge_model", str(judge))
        people = found.select(COUNTS).to_numpy().astype(np.float64)
        model = np.eye(3)[1 - found["choice"].to_numpy().astype(np.int64)]  # a, tie, b
        weights = found["comparisons"].to_numpy().astype(np.float64)
        drawn = CountTable(people, weights).resampled(generator(bootstrap.seed, *part), bootstrap.resamples)
        for name, (numerators, denominators) in _human_model(people, model).items():
            told = float(ratio(weights @ numerators, weights @ denominators)), *interval(ratio(drawn @ numerators, drawn @ denominators))
            yield Figure.of(name, told, weights @ denominators, part)
        cells = (model[:, :, None] * people[:, None, :]).reshape(-1, 9)
        kappas = [cohen_kappas((sample @ cells).reshape(*sample.shape[:-1], 3, 3)) for sample in (weights, drawn)]
        yield Figure.of("human_model_kappa", (float(kappas[0]), *interval(kappas[1])), weights @ people.sum(axis=1), part)


def _human_model(people: Array, model: Array) -> dict[str, tuple[Array, Array]]:
    """Numerator and denominator of each share, per pattern: people's counts and the model's verdict, both (G, 3)."""
    decided = 1 - model[:, 1]
    margin = np.sign(people[:, 0] - people[:, 2])
    return {
        "human_model_agreement": ((people * model).sum(axis=1), people.sum(axis=1)),
        "human_model_agreement_without_ties": (
            (people * model)[:, DECIDED].sum(axis=1),
            people[:, DECIDED].sum(axis=1) * decided,
        ),
        "human_majority_agreement": (decided * (margin == model[:, 0] - model[:, 2]), decided * (margin != 0)),
    }

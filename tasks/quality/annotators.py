"""The annotators one by one: what each does, and why one deserves a look. And pairs of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import duckdb
import numpy as np
import polars as pl
from scipy.special import ndtr, ndtri

from data_contracts.records import ALL_SLICES, ANNOTATOR
from tasks.quality.agreement import CATEGORIES
from tasks.quality.figures.agreement import Array, cohen_kappa_errors, cohen_kappas, ratio
from tasks.quality.figures.length import NORMAL_975
from tasks.quality.figures.runs import expected_longest_run, run_probability
from tasks.quality.rows import UNKNOWN, Figure
from tasks.quality.working_tables import rows

MAD_TO_DEVIATION = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""
SHARES = {
    "majority_agreement": ("n_with_majority", "n_majority"),
    "self_agreement": ("n_agreeing", "n_self_pairs"),
    "gold_passed_share": ("n_gold_passed", "n_gold"),
    "contradiction_share": ("n_contradictions", "n_strength"),
    "presented_first_share": ("n_first", "n_presented_first"),
    "longer_preferred_share": ("n_longer", "n_lengths"),
    "tie_share": ("n_ties", "n_judgments"),
}


@dataclass(frozen=True)
class Flagging:
    """When an annotator is flagged."""

    min_judgments: int
    """Annotators with fewer judgments get no flag."""
    z: float
    """How many standard errors, or robust standard deviations, count as more than chance."""
    difference: float
    """How far a share has to be from the annotators' to matter."""


def people_of(sums: pl.DataFrame) -> pl.DataFrame:
    """The sums of every annotator who is known, over all judgments."""
    return sums.filter((pl.col("slice_kind") == ALL_SLICES) & pl.col("annotator").is_not_null()).drop("slice_kind", "slice")


def annotator_table(
    people: pl.DataFrame, *, repeats: pl.DataFrame, triads: pl.DataFrame, speeds: pl.DataFrame, sittings: pl.DataFrame
) -> pl.DataFrame:
    """One row per annotator, by id, in the columns of its record without favouritism and flags.

    Args:
        people: sums of judgments, see `people_of`; the other frames have a row for those annotators of whom they know something.
        repeats: pairs of judgments of the same responses.
        triads: triads of each annotator's own judgments.
        speeds: median and spread of the logarithm of the seconds.
        sittings: longest runs.
    """
    repeats = repeats.select("annotator", "n_agreeing", n_self_pairs="n_pairs")
    joined = reduce(lambda one, other: one.join(other, on="annotator", how="left"), (repeats, triads, speeds, sittings), people)
    counts = ["n_agreeing", "n_self_pairs", "n_triads", "cyclic_triads"]
    table = joined.rename({"annotator": "annotator_id", "n_presented": "n_presented_first"}).with_columns(pl.col(counts).fill_null(0))
    shares = {name: pl.when(pl.col(n) > 0).then(pl.col(top) / pl.col(n)) for name, (top, n) in SHARES.items()}
    low, high = wilson(table["n_first"], table["n_presented_first"])
    table = table.with_columns(**shares, presented_first_low=low, presented_first_high=high, **_speed(table))
    return _with_runs(table).sort("annotator_id")


def wilson(ones: pl.Series, n: pl.Series) -> tuple[pl.Series, pl.Series]:
    """The 95 % interval of a share by E. B. Wilson, 1927; null where n is 0."""
    z, k, m = NORMAL_975, ones.cast(pl.Float64).to_numpy(), n.cast(pl.Float64).to_numpy()
    half = z * np.sqrt(ratio(k * (m - k), m) + z**2 / 4)
    low, high = (ratio(k + z**2 / 2 + side * half, m + z**2) for side in (-1, 1))
    return tuple(pl.Series(np.where(m > 0, end, np.nan)).fill_nan(None) for end in (low, high))  # type: ignore[return-value]


def _speed(table: pl.DataFrame) -> dict[str, pl.Series]:
    logs = table["median_log_seconds"]
    middle = logs.median()
    deviation = (logs - middle).abs().median()
    spread = MAD_TO_DEVIATION * deviation if isinstance(deviation, float) and deviation > 0 else None
    unknown = pl.Series([None] * table.height, dtype=pl.Float64)
    return {"median_seconds": logs.exp(), "speed_z": (logs - middle) / spread if spread else unknown}


def _with_runs(table: pl.DataFrame) -> pl.DataFrame:
    pressed = table.select("longest_run", "n_pressed", first="n_first_pressed", ties="n_ties_pressed")
    expected: list[float | None] = []
    probabilities: list[float | None] = []
    for longest, n, first, ties in pressed.iter_rows():
        shares = np.array([first, ties, n - first - ties]) / n if n else None
        expected.append(None if shares is None else expected_longest_run(int(n), shares))
        probabilities.append(None if shares is None else run_probability(int(longest), int(n), shares))
    columns = {"longest_run_expected": expected, "longest_run_p": probabilities}
    return table.with_columns(pl.Series(name, values, dtype=pl.Float64) for name, values in columns.items())


def favouritism(connection: duckdb.DuckDBPyConnection, flagging: Flagging) -> pl.DataFrame:
    """One row per annotator and model, by both: what the model wins with the annotator and with the others."""
    return rows(connection, "favouritism", least=flagging.min_judgments)


def with_flags(table: pl.DataFrame, favours: pl.DataFrame, flagging: Flagging) -> pl.DataFrame:
    """The annotators in the columns of their record, each with the model that is favoured most surely, and with flags."""
    matters = pl.col("difference").abs() > flagging.difference
    by_certainty = favours.sort(matters, pl.col("z").abs(), "model", descending=[True, True, False], nulls_last=True)
    surest = by_certainty.unique("annotator_id", keep="first", maintain_order=True)
    models = favours.group_by("annotator_id").agg(n_models=pl.len())
    chosen = surest.select("annotator_id", favoured_model="model", favouritism="difference", favouritism_z="z")
    joined = table.join(chosen, on="annotator_id", how="left").join(models, on="annotator_id", how="left")
    enough = pl.col("n_judgments") >= flagging.min_judgments
    flags = [pl.when(enough & raised.fill_null(value=False)).then(pl.lit(flag)) for flag, raised in _flags(joined, flagging).items()]
    flagged = joined.with_columns(flags=pl.concat_list(flags).list.drop_nulls())
    return flagged.select(column.name for column in ANNOTATOR.columns).sort("annotator_id")


def _flags(table: pl.DataFrame, flagging: Flagging) -> dict[str, pl.Expr]:
    def apart(name: str) -> tuple[pl.Expr, pl.Expr]:
        """How far a share is from all annotators' together, and in how many standard errors."""
        top, n = SHARES[name]
        together = float(ratio(*(table[column].cast(pl.Float64).to_numpy().sum() for column in (top, n))))
        difference = pl.col(name) - together
        return difference, difference / (pl.lit(together * (1 - together)) / pl.col(n)).sqrt()

    def differs(name: str) -> pl.Expr:
        difference, z = apart(name)
        return (difference.abs() > flagging.difference) & (z.abs() > flagging.z)

    def falls_short(name: str) -> pl.Expr:
        difference, z = apart(name)
        return (difference < -flagging.difference) & (z < -flagging.z)

    tail = float(ndtr(-flagging.z))
    of_models = pl.col("n_models").map_elements(lambda n: float(-ndtri(tail / n)), return_dtype=pl.Float64)  # the surest of n
    return {
        "disagrees": falls_short("majority_agreement"),
        "fails_gold": falls_short("gold_passed_share"),
        "one_sided": differs("presented_first_share"),
        "ties": differs("tie_share"),
        "fast": pl.col("speed_z") < -flagging.z,
        "long_run": pl.col("longest_run_p") < tail,
        "favours_model": (pl.col("favouritism").abs() > flagging.difference) & (pl.col("favouritism_z").abs() > of_models),
    }


def flag_figure(annotators: pl.DataFrame, flagging: Flagging) -> Iterator[Figure]:
    """The share of annotators, among those with enough judgments, who have a flag."""
    judged = annotators.filter(pl.col("n_judgments") >= flagging.min_judgments)
    share = judged.select((pl.col("flags").list.len() > 0).mean()).item() if judged.height else float("nan")
    yield Figure.of("flagged_annotator_share", (share, *UNKNOWN), judged.height)


def annotator_pairs(connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """One row per pair of annotators who judged a comparison in common, by ids: raw agreement and Cohen's kappa there."""
    names = [f"{one}_{other}" for one in CATEGORIES for other in CATEGORIES]
    choices = dict(zip(CATEGORIES, (1, 0, -1), strict=True))
    cells = ", ".join(
        f"count_if(v.choice = {choices[one]} and w.choice = {choices[other]}) as {one}_{other}"
        for one in CATEGORIES
        for other in CATEGORIES
    )
    found = rows(connection, "annotator_pairs", cells=cells)
    tables: Array = found.select(names).to_numpy().astype(np.float64).reshape(-1, 3, 3)
    kappas, errors = cohen_kappas(tables), cohen_kappa_errors(tables)
    ends = {"cohen_kappa": kappas, "cohen_kappa_low": kappas - NORMAL_975 * errors, "cohen_kappa_high": kappas + NORMAL_975 * errors}
    n = tables.sum(axis=(1, 2))
    return found.select(
        "annotator_1",
        "annotator_2",
        n_comparisons=pl.Series(n.astype(np.int64)),
        raw_agreement=pl.Series(ratio(np.trace(tables, axis1=1, axis2=2), n)),
        **{name: pl.Series(values).fill_nan(None) for name, values in ends.items()},
    )

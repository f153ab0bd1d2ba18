"""What the report shows of feedback quality: the stage's own rows, put side by side."""

from typing import Any

import polars as pl

from data_contracts.artifact_store import Artifact
from data_contracts.quality_figures import AGREEMENT_FIGURES, FLAGS, HUMAN_MODEL_FIGURES, SHARE_FIGURES, SINGLE_FIGURES
from data_contracts.records import ALL_SLICES

BY_SLICE = (
    "krippendorff_alpha",
    "raw_agreement",
    "leave_one_out_agreement",
    "tie_share",
    "presented_first_share",
    "longer_preferred_share",
)
"""The figures that are shown for every slice; the others stand in the audit database."""
GROUPS = {"agreement": AGREEMENT_FIGURES, "shares of judgments": SHARE_FIGURES, "consistency, bias and change": SINGLE_FIGURES}


def quality_content(quality: Artifact, *, slices_per_kind: int, annotators: int) -> dict[str, Any]:
    """The tables of the report's part on feedback quality.

    Args:
        quality: the stage's artifact.
        slices_per_kind: slices of a kind that are shown: those with the most judgments.
        annotators: annotators that are shown: those with the most flags, and then with the most judgments.
    """
    figures = pl.read_parquet(quality.file("quality.parquet"))
    people = pl.read_parquet(quality.file("annotators.parquet"))
    overall = figures.filter((pl.col("slice_kind") == ALL_SLICES) & ((pl.col("n") > 0) | pl.col("value").is_not_null()))
    shown = people.sort(pl.col("flags").list.len(), "n_judgments", "annotator_id", descending=[True, True, False]).head(annotators)
    return {
        "overall": {title: overall.filter(pl.col("figure").is_in(list(names))).to_dicts() for title, names in GROUPS.items()},
        "meanings": AGREEMENT_FIGURES | SHARE_FIGURES | SINGLE_FIGURES,
        "by_slice": _by_slice(figures, slices_per_kind),
        "columns": BY_SLICE,
        "judge_models": _side_by_side(figures.filter(pl.col("slice_kind") == "judge_model"), tuple(HUMAN_MODEL_FIGURES)),
        "judge_columns": tuple(HUMAN_MODEL_FIGURES),
        "annotators": shown.to_dicts(),
        "n_annotators": people.height,
        "flags": FLAGS,
    }


def _by_slice(figures: pl.DataFrame, per_kind: int) -> list[dict[str, Any]]:
    """One row per slice with its figures beside each other, the largest of each kind."""
    parts = figures.filter(~pl.col("slice_kind").is_in([ALL_SLICES, "judge_model"]))
    rows = _side_by_side(parts, BY_SLICE)
    shown: dict[str, int] = {}
    kept = []
    for row in sorted(rows, key=lambda row: (row["slice_kind"], -row["n"], row["slice"])):
        shown[row["slice_kind"]] = shown.get(row["slice_kind"], 0) + 1
        if shown[row["slice_kind"]] <= per_kind:
            kept.append(row)
    return kept


def _side_by_side(figures: pl.DataFrame, names: tuple[str, ...]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in figures.iter_rows(named=True):
        part = found.setdefault((row["slice_kind"], row["slice"]), {"slice_kind": row["slice_kind"], "slice": row["slice"], "n": 0})
        part["n"] = max(part["n"], row["n"])
        if row["figure"] in names:
            part[row["figure"]] = row
    return list(found.values())

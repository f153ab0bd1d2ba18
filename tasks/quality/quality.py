"""Feedback quality: how far annotators agree, how consistent they are, which way they lean, and who deserves a look.

Judgments of people; what models judged is only compared with them. Every figure is a row of `quality.parquet`, every annotator one of
`annotators.parquet`: the report, the gate and the audit database read these rows.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl
from pydantic import Field

from data_contracts.artifact_store import Artifact, Headline, Made
from data_contracts.code_version import code_version
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.lake_views import open_current, views_version
from data_contracts.manifest import Identity, library_versions
from data_contracts.parquet import write_records
from data_contracts.records import ALL_SLICES, ANNOTATOR, ANNOTATOR_PAIR, FAVOURITISM, QUALITY_FIGURE
from tasks.quality import working_tables
from tasks.quality.agreement import Bootstrap, agreement_figures, human_model_figures
from tasks.quality.annotators import Flagging, annotator_pairs, annotator_table, favouritism, flag_figure, people_of, with_flags
from tasks.quality.bias import fatigue_figures, length_figure, spread_figures
from tasks.quality.consistency import consistency_figures, repeats_by_annotator, triads_by_annotator
from tasks.quality.rows import Figure
from tasks.quality.shares import share_figures, sums_by_annotator
from tasks.quality.slices import find_slices
from tasks.quality.volume import refusal_figures, volume_figures
from tasks.quality.working_tables import rows
from tasks.stage import StageConfig, stage

NEW_BATCHES = "new_batches.json"
"""Names of the batches that are new, in the lake's order."""


class QualityConfig(StageConfig):
    """How the quality of feedback is measured."""

    seed: int = Field(default=0, ge=0, description="seed of the bootstrap")
    resamples: int = Field(default=1000, ge=100, description="bootstrap resamples behind each interval")
    max_slices: int = Field(default=50, ge=1, description="slices of a kind, such as days, that get figures: those with the most judgments")
    recent_days: int = Field(default=1, ge=1, description="last days of the snapshot, by event time, that are compared with those before")
    trailing_days: int = Field(default=28, ge=1, description="days before the recent ones that they are compared with")
    sitting_gap: float = Field(default=30.0, gt=0, description="minutes without a judgment after which an annotator's sitting has ended")
    flag_min_judgments: int = Field(default=20, ge=2, description="annotators with fewer judgments get no flag")
    flag_z: float = Field(default=3.0, gt=0, description="standard errors, or robust standard deviations of speed, that are no chance")
    flag_difference: float = Field(default=0.1, ge=0, le=1, description="how far a share has to be from the annotators' to be flagged")
    memory_limit: str = Field(
        default="3GB",
        pattern=r"^[1-9][0-9]*(MB|GB)$",
        description="memory that the database may use; beyond it, work goes to disk; the process takes about 1 GB more",
    )

    @property
    def flagging(self) -> Flagging:
        """When an annotator is flagged."""
        return Flagging(self.flag_min_judgments, self.flag_z, self.flag_difference)


def measure_quality(home: Home, config: QualityConfig, *, snapshot: Artifact, duplicates: Artifact, before: Artifact | None = None) -> Made:
    """Measure the quality of a snapshot's current judgments.

    Args:
        home: the installation.
        config: how it is measured.
        snapshot: which feedback counts.
        duplicates: the snapshot's duplicates: they tell near-identical responses.
        before: an earlier snapshot; what its batches did not bring is new. Without one everything is.
    """
    inputs = {"snapshot": snapshot, "duplicates": duplicates} | ({"before": before} if before else {})
    identity = Identity(
        kind="quality",
        code_version=f"{code_version('tasks.quality.quality')}-{views_version()}-{working_tables.sql_version()}",
        libraries=library_versions(("duckdb", "numpy", "polars", "pyarrow", "scipy")),
        config=config.model_dump(mode="json", exclude={"memory_limit"}),
        inputs=tuple(artifact.manifest.as_input(role) for role, artifact in inputs.items()),
    )
    return home.artifacts.make(identity, lambda directory: _write_quality(directory, config, home, **inputs))


def _write_quality(
    directory: Path, config: QualityConfig, home: Home, snapshot: Artifact, duplicates: Artifact, before: Artifact | None = None
) -> Headline:
    pinned, new = FeedbackLake(home.lake).pinned(snapshot), new_batches(home, snapshot, before)
    near = pl.read_parquet(duplicates.file("response_pairs.parquet"), columns=["comparison_id"])
    with working_tables.scratch_database(home.work, config.memory_limit) as connection:
        open_current(connection, *pinned)
        working_tables.make_working_tables(connection, near, new)
        measured = measure(connection, config)
    measured.figures.extend(refusal_figures(pinned, new))
    write_measured(measured, directory)
    names = [path.name for path in (pinned.batches if new is None else new)]
    (directory / NEW_BATCHES).write_text(json.dumps(names, indent=2) + "\n")
    return {**measured.headline, "new_batches": len(names)}


def new_batches(home: Home, snapshot: Artifact, before: Artifact | None) -> list[Path] | None:
    """The batches of a snapshot that an earlier one did not have; None, for all of them, without one."""
    if before is None:
        return None
    lake = FeedbackLake(home.lake)
    known = set(lake.pinned(before).batches)
    return [path for path in lake.pinned(snapshot).batches if path not in known]


def write_measured(measured: "Measured", directory: Path) -> None:
    """Write the artifact's tables."""
    figures = QUALITY_FIGURE.table([vars(figure) for figure in measured.figures])
    write_records(QUALITY_FIGURE, figures, directory / "quality.parquet")
    write_records(ANNOTATOR, measured.annotators.to_arrow(), directory / "annotators.parquet")
    write_records(ANNOTATOR_PAIR, measured.pairs.to_arrow(), directory / "annotator_pairs.parquet")
    write_records(FAVOURITISM, measured.favouritism.to_arrow(), directory / "favouritism.parquet")


@dataclass(frozen=True)
class Measured:
    """What was measured: the rows of the artifact's tables."""

    figures: list[Figure]
    annotators: pl.DataFrame
    pairs: pl.DataFrame
    favouritism: pl.DataFrame
    slices_left_out: int

    @property
    def headline(self) -> Headline:
        """The figures to show."""
        overall = {figure.figure: figure for figure in self.figures if figure.slice_kind == ALL_SLICES}
        alpha = overall["krippendorff_alpha"]
        return {
            "krippendorff_alpha": alpha.value,
            "krippendorff_alpha_low": alpha.low,
            "krippendorff_alpha_high": alpha.high,
            "raw_agreement": overall["raw_agreement"].value,
            "presented_first_share": overall["presented_first_share"].value,
            "judgments": overall["tie_share"].n,
            "annotators": self.annotators.height,
            "annotators_with_flags": self.annotators.filter(pl.col("flags").list.len() > 0).height,
            "slices_left_out": self.slices_left_out,
        }


def measure(connection: duckdb.DuckDBPyConnection, config: QualityConfig, excluded: Sequence[str] = ()) -> Measured:
    """Measure everything from the working tables; the effect of leaving annotators out is reported, nothing else is without them."""
    slices = find_slices(connection, largest=config.max_slices, recent_days=config.recent_days, trailing_days=config.trailing_days)
    bootstrap = Bootstrap(config.seed, config.resamples)
    sums, repeats, triads = sums_by_annotator(connection, slices), repeats_by_annotator(connection), triads_by_annotator(connection)
    sittings = rows(connection, "sittings", gap=config.sitting_gap)
    people, favours = people_of(sums), favouritism(connection, config.flagging)
    table = annotator_table(people, repeats=repeats, triads=triads, speeds=rows(connection, "speeds"), sittings=sittings)
    annotators = with_flags(table, favours, config.flagging)
    figures = [
        *agreement_figures(connection, slices, bootstrap, excluded),
        *human_model_figures(connection, bootstrap),
        *share_figures(sums, bootstrap),
        *consistency_figures(connection, repeats, triads, bootstrap),
        length_figure(connection),
        *spread_figures(people),
        *fatigue_figures(sittings, bootstrap),
        *flag_figure(annotators, config.flagging),
        *volume_figures(connection, slices),
    ]
    return Measured(figures, annotators, annotator_pairs(connection), favours, slices.left_out)


quality_stage = stage("quality")(measure_quality)

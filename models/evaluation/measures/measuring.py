"""A measure's job from the responses of an evaluation to a value for each of them, and to figures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from data_contracts.records import ALL_SLICES, FIGURE, MEASUREMENT
from models.evaluation.measures.measure_figures import measure_figures
from models.job import Headline, Job

Row = Mapping[str, Any]
"""A row of the record `sample`."""


class Measured(NamedTuple):
    """What was measured of one response."""

    values: Mapping[str, float | None]
    """By figure; None where the figure says nothing of this response."""
    note: str = ""
    """What the value comes from, where that needs saying."""


Measure = Callable[[Sequence[Row]], Sequence[Measured]]
"""Measures one model's responses, in their order."""


def run_measure(job: Job[Any], measure: Measure, *, by: str = "") -> Headline:
    """Measure every response of the input `evaluation`; writes `measurements.parquet` and `figures.parquet`.

    Args:
        job: the job.
        measure: is asked once for each model.
        by: what ends the figures' names, if anything: `_by_NAME`.
    """
    samples = pq.read_table(job.input("evaluation", "samples.parquet")).to_pylist()
    models, rows = sorted({row["model"] for row in samples}), []
    for done, model in enumerate(models, 1):
        own = [row for row in samples if row["model"] == model]
        rows += [row for sample, one in zip(own, measure(own), strict=True) for row in _rows(sample, one)]
        job.progress.report(done, len(models), model=model)
    figures = measure_figures(rows, by=by)
    pq.write_table(MEASUREMENT.table([{**row, "figure": row["figure"] + by} for row in rows]), job.output / "measurements.parquet")
    pq.write_table(FIGURE.table(figures), job.output / "figures.parquet")
    overall: dict[str, Any] = {str(row["figure"]): row["value"] for row in figures if row["slice"] == ALL_SLICES}
    return {figure: value for figure, value in overall.items() if "champion" not in figure}


def _rows(sample: Row, measured: Measured) -> list[dict[str, Any]]:
    about = {name: sample[name] for name in ("prompt_id", "slice", "model")}
    return [{**about, "figure": figure, "value": value, "note": measured.note} for figure, value in measured.values.items()]

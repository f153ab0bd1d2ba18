"""What a run's page on the server shows: log lines, a bar per learning stage, tables of figures, and the summary in the morning.

Figures only: no text of a prompt or a response and no annotator's name ever goes to the server.
"""

import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import pyarrow.parquet as pq
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from data_contracts.home import Home
from data_contracts.records import ALL_SLICES
from flows.show import headline_text
from tasks.progress import Event, NightEnded, StageEnded, StageProgress, StageStarted, describe

BAR_SECONDS, LINE_SECONDS = 3.0, 60.0
"""A bar is moved, and a line of progress logged, at most this often."""


def _nobody(row: Mapping[str, Any]) -> bool:
    """A rule's row about nobody in particular."""
    return bool(row["slice_kind"] != "annotator")


class Shown(NamedTuple):
    """A table of figures on the page."""

    title: str
    file: str
    columns: tuple[str, ...]
    of: Callable[[Mapping[str, Any]], bool] = lambda _: True
    """Which rows are shown."""


INTERVAL = ("figure", "value", "low", "high")
TABLES = {
    "quality": Shown("agreement", "quality.parquet", (*INTERVAL, "n"), lambda row: row["slice_kind"] == ALL_SLICES and row["n"] > 0),
    "data_gate": Shown("data gate", "data_gate.parquet", ("rule", "slice", "verdict", "value", "low", "high", "threshold"), _nobody),
    "reward_model": Shown("reward model", "figures.parquet", INTERVAL, lambda row: (row["split"], row["grouping"]) == ("test", ALL_SLICES)),
    "evaluation": Shown("evaluation", "figures.parquet", (*INTERVAL, "n"), lambda row: row["slice"] == ALL_SLICES),
    "gate": Shown("gate", "gate.parquet", ("rule", "verdict", "figure", "low", "high", "threshold", "reason")),
}
"""By kind of artifact."""


class RunPage:
    """Listens to the stages of a flow run and shows them on its page."""

    def __init__(self, home: Home, name: str) -> None:
        self.home, self.key = home, re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        self.stage = ""
        self.bar: UUID | None = None
        self.moved = self.logged = 0.0

    def __call__(self, event: Event) -> None:
        """Show one event; a server that cannot be reached just now costs no stage its work."""
        try:
            self._show(event)
        except Exception as error:
            get_run_logger().warning("not shown on this page: %s (%s: %s)", describe(event), type(error).__name__, error)

    def _show(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self.stage, self.bar, self.logged = event.stage, None, time.monotonic()
        elif isinstance(event, StageProgress):
            self._progress(event)
        elif isinstance(event, NightEnded):
            create_markdown_artifact(markdown=event.summary, key=self._key("summary"), description=describe(event))
        else:
            get_run_logger().info("%s · %s", describe(event), headline_text(event.headline))
            self._end(event)

    def _progress(self, event: StageProgress) -> None:
        now = time.monotonic()
        if now - self.logged > LINE_SECONDS:
            self.logged = now
            get_run_logger().info("%s: %s", self.stage, describe(event))
        if not event.total or now - self.moved < BAR_SECONDS:
            return
        self.moved, percent = now, 100 * event.done / event.total
        if self.bar is None:
            self.bar = create_progress_artifact(progress=percent, key=self._key(self.stage), description=self.stage)  # type: ignore[assignment]
        else:
            update_progress_artifact(self.bar, progress=percent)

    def _end(self, event: StageEnded) -> None:
        if self.bar is not None:
            update_progress_artifact(self.bar, progress=100.0)
        shown = TABLES.get(event.kind)
        if shown:
            rows = pq.read_table(self.home.artifacts.open(event.artifact_id).file(shown.file)).to_pylist()
            table = [{column: _plain(row[column]) for column in shown.columns} for row in rows if shown.of(row)]
            title = shown.title if event.kind != "reward_model" else event.stage
            create_table_artifact(table=table, key=self._key(title), description=title)

    def _key(self, what: str) -> str:
        return f"{self.key}-{re.sub('[^a-z0-9]+', '-', what.lower())}"


def _plain(value: object) -> object:
    """A figure as a table takes it: three digits, and nothing that JSON has no word for."""
    if isinstance(value, float):
        return float(f"{value:.3g}") if math.isfinite(value) else None
    return value

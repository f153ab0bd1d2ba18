"""`overnight metrics`: what a training stage logged, handed to TensorBoard or MLflow through accelerate's trackers."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.tracking import GeneralTracker, MLflowTracker, TensorBoardTracker

from data_contracts.artifact_store import Artifact
from data_contracts.errors import InputError, RecipeError
from data_contracts.home import Home
from flows.console import new_console
from flows.show import find_artifact

FILE = "metrics.jsonl"
COUNTS = ("update", "step")
"""What a row of metrics may be counted by; a validation that has neither belongs to the row before it."""
Figures = dict[str, float | int]


def hand_over(root: Path, name: str, *, tensorboard: Path | None, mlflow: str | None) -> None:
    """Write an artifact's metrics as a run named by its kind and id.

    Args:
        root: the home.
        name: the beginning of the artifact's id, or a name that stands for one.
        tensorboard: folder of TensorBoard's files.
        mlflow: MLflow's tracking URI.

    Raises:
        InputError: it logged nothing, or neither place is given.
        RecipeError: the library is not installed.
    """
    artifact = find_artifact(Home(root), name)
    if not artifact.has(FILE):
        raise InputError(f"the {artifact.kind.replace('_', ' ')} {artifact.short_id} logged no metrics", remedy="name a trained model")
    if tensorboard is None and mlflow is None:
        raise InputError("nowhere to write the metrics to", remedy="give --tensorboard DIR, or --mlflow URI")
    run = f"{artifact.kind}-{artifact.short_id}"
    PartialState()  # accelerate's trackers ask it which process they are in
    for tracker in _trackers(run, tensorboard, mlflow):
        _write(artifact, tracker)
    new_console().print(
        f"{run}: in {' and '.join(str(place) for place in (tensorboard, mlflow) if place)}", soft_wrap=True, highlight=False
    )


def _trackers(run: str, tensorboard: Path | None, mlflow: str | None) -> Iterator[GeneralTracker]:
    if tensorboard is not None:
        yield _started(TensorBoardTracker(run, tensorboard), "tensorboard")
    if mlflow is not None:
        os.environ["MLFLOW_TRACKING_URI"] = mlflow
        yield _started(MLflowTracker("overnight", run_name=run), "mlflow")


def _started(tracker: GeneralTracker, package: str) -> GeneralTracker:
    try:
        tracker.start()
    except ImportError as error:
        remedy = f"pip install {package} (the extra `{package}`)"
        raise RecipeError(f"{package} is not installed", where=f"--{package}", remedy=remedy) from error
    return tracker


def _write(artifact: Artifact, tracker: GeneralTracker) -> None:
    for count, figures in rows(artifact.file(FILE)):
        tracker.log(figures, step=count)
    tracker.finish()


def rows(path: Path) -> Iterator[tuple[int, Figures]]:
    """The figures of a metrics file, row by row, with the update or step that each belongs to; what is not finite is left out.

    A list, one number for each member of an ensemble, gives one figure per member.
    """
    count = 0
    for line in path.read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        count = next((row[name] for name in COUNTS if name in row), count)
        named = [pair for name, value in row.items() if name not in COUNTS for pair in _named(name, value)]
        yield count, {name: value for name, value in named if value is not None}


def _named(name: str, value: Any) -> list[tuple[str, Any]]:
    return [(f"{name}/{place}", one) for place, one in enumerate(value)] if isinstance(value, list) else [(name, value)]

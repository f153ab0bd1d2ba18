"""`overnight metrics`."""

import argparse
from pathlib import Path

from flows.commands.common import Commands, existing_home


def add(commands: Commands, home: argparse.ArgumentParser) -> None:
    """Add the command that hands over what training logged."""
    metrics = commands.add_parser("metrics", parents=[home], help="what a training stage logged, for TensorBoard or MLflow")
    metrics.add_argument("artifact", metavar="ID", help="the first digits of its id, or `champion`")
    metrics.add_argument("--tensorboard", type=Path, metavar="DIR", help="write a run of TensorBoard's there (the extra `tensorboard`)")
    metrics.add_argument("--mlflow", metavar="URI", help="log a run to this MLflow tracking URI (the extra `mlflow`)")
    metrics.set_defaults(command=_metrics)


def _metrics(options: argparse.Namespace) -> int:
    from flows.metrics import hand_over

    hand_over(existing_home(options), options.artifact, tensorboard=options.tensorboard, mlflow=options.mlflow)
    return 0

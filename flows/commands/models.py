"""Commands on a stored model: `overnight evaluate`."""

import argparse
from pathlib import Path

from flows.commands.common import Commands, existing_home


def add(commands: Commands, home: argparse.ArgumentParser) -> None:
    """Add the commands that put a model to work."""
    evaluate = commands.add_parser(
        "evaluate", parents=[home], help="a stored model on a file from outside, in one of RewardBench's layouts"
    )
    evaluate.add_argument("what", choices=("reward-model",), help="kind of model")
    evaluate.add_argument("artifact", metavar="ID", help="the first digits of its id")
    evaluate.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="JSON lines or Parquet; docs/reward_bench.md has examples"
    )
    evaluate.add_argument("--rows", type=Path, metavar="FILE", help="write the scores of every row to this Parquet file")
    evaluate.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from flows.evaluate import evaluate_reward_model

    evaluate_reward_model(existing_home(options), options.artifact, options.data, options.rows)
    return 0

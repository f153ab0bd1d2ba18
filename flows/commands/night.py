"""`overnight run`."""

import argparse
from pathlib import Path

from flows.commands.common import STOPPED, Commands


def add(commands: Commands, home: argparse.ArgumentParser) -> None:
    """Add the command that runs a night."""
    run = commands.add_parser("run", parents=[home], help="run one night of a recipe")
    run.add_argument(
        "--recipe", default="built-in", metavar="FILE", help="a TOML file, or the name of a recipe that comes with the project"
    )
    run.add_argument("--data", type=Path, metavar="DIR", help="folder for the recipe's relative source and model paths")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="a setting over the recipe's own")
    run.add_argument("--fail-when-stopped", action="store_true", help=f"end with code {STOPPED} when the data gate stopped the night")
    run.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from flows.run import run_night

    data, overrides = options.data and options.data.resolve(), tuple(options.overrides)
    stopped = run_night(options.recipe, options.home.resolve(), store=options.store, data=data, overrides=overrides)
    return STOPPED if stopped and options.fail_when_stopped else 0

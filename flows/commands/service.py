"""Commands for a server of one's own: `overnight up`, `overnight down`, `overnight status`."""

import argparse
import os

from flows.commands.common import FAILURE, Commands


def add(commands: Commands, home: argparse.ArgumentParser) -> None:
    """Add the commands that start, stop and look at a local installation."""
    up = commands.add_parser("up", parents=[home], help="start a complete local installation: Prefect's server, deployments, two workers")
    up.add_argument("--port", type=int, help="port of the server on this machine (default: the one it had, or 4200)")
    up.add_argument("--recipe", metavar="NAME", help="recipe of runs that name none (default: OVERNIGHT_RECIPE, or built-in)")
    up.add_argument("--recipes", metavar="DIR", help="folder of recipes that runs may name (default: OVERNIGHT_RECIPES, or none)")
    up.add_argument("--data", metavar="DIR", help="folder for the recipes' relative paths (default: OVERNIGHT_DATA, or beside the recipe)")
    up.set_defaults(command=_up)
    for name, command, text in (
        ("down", _down, "stop what `overnight up` started, and nothing else"),
        ("status", _status, "what runs and what is wrong; exit code 1 when something is"),
    ):
        commands.add_parser(name, parents=[home], help=text).set_defaults(command=command)


def _up(options: argparse.Namespace) -> int:
    from pathlib import Path

    from flows.service.installation import Installation, up

    for name in ("recipe", "recipes", "data"):
        if value := getattr(options, name):
            os.environ[f"OVERNIGHT_{name.upper()}"] = value if name == "recipe" else str(Path(value).resolve())
    if options.store:
        os.environ["OVERNIGHT_STORE"] = options.store
    root = options.home.resolve()
    root.mkdir(parents=True, exist_ok=True)
    address = up(Installation(root), options.port, lambda line: print(f"overnight: {line} …", flush=True))
    print(f"running: {address}  (home {root})")
    print(f"stop it with: overnight down --home {options.home}")
    return 0


def _down(options: argparse.Namespace) -> int:
    from flows.service.installation import Installation, down

    print("\n".join(f"stopped: {what}" for what in down(Installation(options.home.resolve()))) or "nothing was running")
    return 0


def _status(options: argparse.Namespace) -> int:
    from flows.service.status import status

    findings = list(status(options.home.resolve()))
    for finding in findings:
        print(f"{'WRONG' if finding.wrong else 'ok   '}  {finding.what:<24} {finding.state}")
    return FAILURE if any(finding.wrong for finding in findings) else 0

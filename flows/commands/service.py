"""Commands for a server of one's own: `overnight up`, `overnight down`, `overnight status`, `overnight alerts`."""

import argparse
import os
from collections.abc import Callable
from datetime import timedelta

from data_contracts.errors import InputError
from flows.commands.common import FAILURE, Commands

LEAST_SILENCE, LEAST_LATENESS = 60, 10
"""Seconds; a run gives a sign of life every 30, and Prefect waits for no event for less than 10."""


def add(commands: Commands, home: argparse.ArgumentParser) -> None:
    """Add the commands that start, stop and look at a local installation."""
    up = commands.add_parser("up", parents=[home], help="start a complete local installation: Prefect's server, deployments, two workers")
    up.add_argument("--port", type=int, help="port of the server on this machine (default: the one it had, or 4200)")
    up.add_argument(
        "--recipe", metavar="NAME", help="recipe of runs that name none (default: OVERNIGHT_RECIPE, or the one it had, or built-in)"
    )
    up.add_argument("--recipes", metavar="DIR", help="folder of recipes that runs may name (default: OVERNIGHT_RECIPES, or the one it had)")
    up.add_argument(
        "--data",
        metavar="DIR",
        help="folder for the recipes' relative paths (default: OVERNIGHT_DATA, or the one it had, or beside the recipe)",
    )
    up.set_defaults(command=_up)
    alerts = commands.add_parser(
        "alerts", parents=[home], help="have a Prefect server send alerts and mark runs that fell silent as crashed"
    )
    alerts.add_argument(
        "--silence",
        type=_seconds(LEAST_SILENCE),
        metavar="SECONDS",
        help="a run not heard of for so long has crashed (default: the one it had, or 300; at least 60)",
    )
    alerts.add_argument(
        "--late",
        type=_seconds(LEAST_LATENESS),
        metavar="SECONDS",
        help="a run that has not begun so long after it is `Late` is told (default: the one it had, or 600; at least 10)",
    )
    alerts.set_defaults(command=_alerts)
    for parser in (up, alerts):
        about = "where alerts are posted as JSON, such as a Slack webhook (default: OVERNIGHT_ALERT_URL, or alerts stay as they are)"
        parser.add_argument("--alert-url", metavar="URL", default=os.environ.get("OVERNIGHT_ALERT_URL"), help=about)
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
    address = up(Installation(root), options.port, lambda line: print(f"overnight: {line} …", flush=True), options.alert_url)
    print(f"running: {address}  (home {root})")
    print(f"stop it with: overnight down --home {options.home}")
    return 0


def _alerts(options: argparse.Namespace) -> int:
    from flows.service.installation import Installation

    installation = Installation(options.home.resolve())
    api = installation.api or os.environ.get("PREFECT_API_URL")
    if api is None:
        remedy = "`overnight up`, or set PREFECT_API_URL to that of a server of your own"
        raise InputError("no server is known", where="PREFECT_API_URL", remedy=remedy)
    if installation.api:
        os.environ.setdefault("PREFECT_HOME", str(installation.folder / "prefect"))
    from flows.service.alerts import watch
    from flows.service.api import auth_string

    for what in watch(api, auth_string() or None, options.alert_url, options.silence, options.late):
        print(f"watched: {what.removeprefix('overnight: ')}")
    return 0


def _seconds(least: int) -> Callable[[str], timedelta]:
    """Reads a whole number of seconds, of at least so many."""

    def read(text: str) -> timedelta:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of seconds from {least} on")
        return timedelta(seconds=int(text))

    return read


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

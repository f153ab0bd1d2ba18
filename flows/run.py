"""`overnight run`: the nightly flow in this process, with a server of Prefect's and a quiet Prefect."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

from data_contracts.errors import FREE_SPACE, StorageError
from data_contracts.home import Home
from data_contracts.sharing.share import join
from flows.console import new_console
from flows.own_server import begin_server
from flows.service.api import auth_string
from flows.service.installation import Installation

PREFECT_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Set unless the environment says otherwise; with PREFECT_API_URL set, the night is reported to that server instead."""

ROOM_TO_BEGIN = 8 * 2**20
"""Bytes that must be free: Prefect's database, and what a night of reused stages writes."""


def run_night(recipe_name: str, root: Path, *, store: str | None, data: Path | None, overrides: tuple[str, ...]) -> bool:
    """Run one night and print how it ended.

    Args:
        recipe_name: a TOML file, or a recipe that comes with the project.
        root: the home.
        store: URL of the object store that the home shares, where it is given; see `data_contracts.sharing`.
        data: folder for the recipe's relative paths.
        overrides: settings over the recipe's own.

    Returns:
        Whether the data gate stopped the night.

    Raises:
        OvernightError: the night could not run or failed; the message says why.
    """
    console = new_console()
    home = Home(root)
    prepare(root)
    if store:
        join(root, store)
    console.print("[bold]overnight[/] starting …")
    is_shown = bool(os.environ.get("PREFECT_API_URL"))
    ready = begin_server()
    from flows.night import night_of
    from flows.nightly import nightly
    from flows.progress_display import ProgressDisplay
    from flows.recipe import load_recipe
    from tasks.progress import listening

    recipe = load_recipe(recipe_name, data=data, overrides=overrides)
    console.print(f"recipe [bold]{recipe.name}[/]{recipe.description and ': '}{recipe.description}", soft_wrap=True)
    for source in recipe.ingest.sources:
        console.print(f"feedback from {source.path}", highlight=False, soft_wrap=True)
    with night_of(home, recipe.name), ProgressDisplay(console) as display, ExitStack() as shown:
        if is_shown:
            from flows.deployments.run_page import RunPage

            shown.enter_context(listening(RunPage(home, recipe.name)))
        ready()
        record = nightly(recipe, root)
    display.summary(record)
    return record.stopped


def prepare(root: Path) -> None:
    """What must be done before Prefect is imported, for nights that keep its database in this home."""
    home = Home(root)
    _check_space(root)
    _configure_prefect(home)


def _check_space(root: Path) -> None:
    """Prefect's own database cannot say that the disk is full: it waits two minutes and gives up."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"the home cannot be made: {error.strerror}", where=str(root), remedy="give another --home") from error
    if (free := shutil.disk_usage(root).free) < ROOM_TO_BEGIN:
        what = f"the disk is full: {free / 2**20:.1f} MiB are free, and a night needs {ROOM_TO_BEGIN / 2**20:.0f} MiB to begin with"
        raise StorageError(what, where=str(root), remedy=f"{FREE_SPACE}, or give another --home")


def _configure_prefect(home: Home) -> None:
    """Prefect's settings must stand in the environment before Prefect is imported."""
    for name, value in PREFECT_SETTINGS.items():
        os.environ.setdefault(name, value)
    if api := Installation(home.root).api:  # a night that is started by hand shows on the same server as the others
        os.environ.setdefault("PREFECT_API_URL", api)
        if auth := auth_string():
            os.environ.setdefault("PREFECT_API_AUTH_STRING", auth)
    os.environ.setdefault("PREFECT_HOME", str(home.prefect))
    home.prefect.mkdir(parents=True, exist_ok=True)

"""`overnight run`: the nightly flow in this process, with Prefect's own server started and quietened for it."""

import os
from pathlib import Path

from rich.console import Console

from data_contracts.home import Home

PREFECT_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Set unless the environment says otherwise; with PREFECT_API_URL set, the night is reported to that server instead."""


def run_night(recipe_name: str, root: Path, *, data: Path | None, overrides: tuple[str, ...]) -> int:
    """Run one night and print how it ended.

    Returns:
        0 when the night ended as designed, whatever the gate said.

    Raises:
        OvernightError: the night could not run or failed; the message says why.
    """
    console = Console()
    home = Home(root)
    console.print("[bold]overnight[/] starting …")
    _configure_prefect(home)
    from flows.nightly import nightly
    from flows.progress_display import ProgressDisplay
    from flows.recipe import load_recipe

    recipe = load_recipe(recipe_name, data=data, overrides=overrides)
    console.print(f"recipe [bold]{recipe.name}[/]: {recipe.description}")
    with ProgressDisplay(console) as display:
        record = nightly(recipe, root)
    display.summary(record)
    return 0


def _configure_prefect(home: Home) -> None:
    """Prefect's settings must stand in the environment before Prefect is imported."""
    for name, value in PREFECT_SETTINGS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", str(home.prefect))
    home.prefect.mkdir(parents=True, exist_ok=True)

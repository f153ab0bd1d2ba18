"""`overnight forget`: erases on request, and says what was erased and which models had learned from it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from data_contracts.artifact_store import SHORT
from data_contracts.home import Home
from data_contracts.tombstones import Tombstone
from flows.console import new_console
from tasks.privacy.forget import forget
from tasks.privacy.screening import pseudonym_key


def forget_and_tell(root: Path, ids: Mapping[str, Sequence[str]], reason: str, key_variable: str) -> int:
    """Forget what is named, or only complete what an earlier run left undone when nothing is; see `tasks.privacy.forget`."""
    console = new_console()
    key = pseudonym_key(key_variable) if os.environ.get(key_variable) else None
    stones = forget(Home(root), **ids, reason=reason, key=key)
    for stone in stones:
        _tell(console, stone)
    if not stones:
        console.print("nothing is left to be forgotten: it was erased before, or nothing was named")
    return 0


def _tell(console: Console, stone: Tombstone) -> None:
    rows = ", ".join(f"{count} of {name}" for name, count in sorted(stone.rows.items()))
    console.print(f"forgotten: tombstone {stone.id}, {len(stone.redacted)} batches and artifacts redacted ({rows})")
    for model in stone.trained:
        aliases = f", alias {', '.join(model.aliases)}" if model.aliases else ""
        console.print(f"[yellow]had learned from it[/] {model.kind} {model.id[:SHORT]}{aliases}")
    if stone.trained:
        console.print("a model cannot forget: the next night trains new ones without it; move or remove these as you have to")
    console.print("source files are yours: erase it there, too")

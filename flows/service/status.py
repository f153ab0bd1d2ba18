"""`overnight status`: what runs, how the last nights ended, and what is wrong."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

from data_contracts.home import Home
from flows.service.api import SEEN_SECONDS, answers, late_runs, silence
from flows.service.installation import POOLS, Installation

LAST_NIGHTS = 3


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: str
    wrong: bool = False


def status(root: Path) -> Iterator[Finding]:
    """Look at the server, its workers, runs that are late, and the last nights of a home.

    The server is the one that `overnight up` started, or else the one that `PREFECT_API_URL` names.
    """
    installation = Installation(root)
    api = installation.api or os.environ.get("PREFECT_API_URL") or (installation.address and f"{installation.address}/api")
    if api is None:
        yield Finding("server", "none was started here, and PREFECT_API_URL names none (`overnight up` starts one)")
    elif not answers(api):
        yield Finding("server", f"does not answer at {api}", wrong=True)
    else:
        yield Finding("server", f"answers at {api}")
        yield from _on_server(api)
    yield from _given_up(installation.given_up)
    yield from _nights(Home(root))


def _given_up(folder: Path) -> Iterator[Finding]:
    """Events that the server could not act on, after several tries: each may be an alert that nobody got."""
    if count := sum(1 for _ in folder.glob("*")):
        why = "its log says why; where SQLite was busy, PostgreSQL waits its turn"
        yield Finding("alerts", f"may be missing: the server gave up on events ({count}), which lie in {folder}; {why}", wrong=True)


def _on_server(api: str) -> Iterator[Finding]:
    for pool in POOLS:
        age = silence(api, pool)
        state = f"last seen {age:.0f} seconds ago" if age < inf else "none was ever seen"
        yield Finding(f"{pool} worker", state, wrong=age > SEEN_SECONDS)
    late = late_runs(api)
    yield Finding("late runs", ", ".join(late) or "none", wrong=bool(late))


def _nights(home: Home) -> Iterator[Finding]:
    """The last nights, and the last one of every other recipe; only how a recipe's last one ended may be wrong."""
    records = [json.loads(path.read_text()) for path in sorted(home.nights.glob("*.json"))]
    if not records:
        yield Finding("nights", "none yet")
    last = {record["recipe"]: record for record in records}
    for record in records:
        is_last = record is last[record["recipe"]]
        if is_last or record in records[-LAST_NIGHTS:]:
            bad = is_last and record["outcome"].startswith(("failed", "interrupted"))
            yield Finding(f"night {record['night'][:16]}", f"{record['recipe']}: {record['outcome']}", wrong=bad)

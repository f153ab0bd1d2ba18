"""Processes that outlive the command that started them: kept by name in a file, ended together with all that they started."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from data_contracts.errors import StageError
from data_contracts.sharing.share import write_whole
from models.lifeline import alive, family, name_of

FILE = "processes.json"
GRACE_SECONDS, POLL_SECONDS = 30.0, 0.2
LOG_LINES = 8
_started: list[subprocess.Popen[bytes]] = []
"""Kept, because Python warns of a process that is forgotten while it runs; these are meant to."""


class Processes:
    """The processes of one installation, each by what it is called here (`server`, `cpu worker`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def running(self) -> dict[str, str]:
        """Those that live, by what they are called: pid and start time, as `models.lifeline` names processes."""
        return {what: name for what, name in self._known().items() if alive(name)}

    def start(self, what: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start one, in a session and a working directory of its own; what it says goes to `WHAT.log`."""
        place = self.folder / what.replace(" ", "-")
        place.mkdir(parents=True, exist_ok=True)
        with self.log(what).open("ab") as log:
            process = subprocess.Popen(
                command, env=dict(environment), cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        _started.append(process)
        self._keep({**self.running(), what: name_of(process.pid)})

    def stop(self, what: str) -> bool:
        """End one and its descendants, gently first; whether it was running."""
        name = self.running().get(what)
        if name is not None:
            end(name)
        self._keep({other: name for other, name in self.running().items() if other != what})
        return name is not None

    def log(self, what: str) -> Path:
        """Where it writes what it says."""
        return self.folder / f"{what.replace(' ', '-')}.log"

    def failure(self, what: str, problem: str) -> StageError:
        """The error for one that did not do what it was started for, with the end of its log."""
        lines = [line for line in self.log(what).read_text(errors="replace").splitlines() if line.strip()]
        return StageError(
            "\n  ".join([f"the {what} {problem}; its log ends:", *lines[-LOG_LINES:]]),
            where=str(self.log(what)),
            remedy="mend the cause, `overnight down`, then `overnight up` again",
        )

    def _known(self) -> dict[str, str]:
        with suppress(FileNotFoundError):
            known: dict[str, str] = json.loads((self.folder / FILE).read_text())
            return known
        return {}

    def _keep(self, names: Mapping[str, str]) -> None:
        write_whole(self.folder / FILE, json.dumps(names, indent=2) + "\n")


def end(name: str) -> None:
    """End a process and what descends from it: asked first, and killed where that does not help.

    Its descendants are asked before it: runs say how they ended while their worker is still there to hear it.
    """
    members = family(int(name.partition(":")[0])) or [name]
    for signal_, targets in ((signal.SIGTERM, members[1:]), (signal.SIGTERM, members[:1]), (signal.SIGKILL, members)):
        for member in filter(alive, targets):
            with suppress(ProcessLookupError):
                os.kill(int(member.partition(":")[0]), signal_)
        deadline = time.monotonic() + GRACE_SECONDS
        while any(map(alive, targets)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

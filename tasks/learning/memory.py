"""How much memory the processes of a job hold at their peak, and how much there is, as Linux tells it."""

import os
import re
from contextlib import suppress
from pathlib import Path

from models.lifeline import family

LOOKS_PER_SEARCH = 10
"""How often ranks are looked at before they are searched for anew, among all processes of the machine."""
LIMIT = Path("/sys/fs/cgroup/memory.max")
"""What a container may hold, where it has a limit."""


class MemoryWatch:
    """The most that one process of a job has been seen to hold in memory.

    What `wait4` tells at the end (`ru_maxrss`) would include what the parent held when it started the process.
    """

    def __init__(self, pid: int, *, launched: bool) -> None:
        """`launched`: the process is a launcher, whose ranks do the job."""
        self.peak: int | None = None
        """In bytes; None where the system does not tell it."""
        self._pid, self._launched, self._looks, self._pids = pid, launched, 0, [pid]

    def look(self) -> None:
        """See what they have held until now; what a process that ended since held in between is missed."""
        if self._launched and self._looks % LOOKS_PER_SEARCH == 0:
            self._pids = [int(name.partition(":")[0]) for name in family(self._pid)]
        self._looks += 1
        for pid in self._pids:
            self.peak = max(_peak_of(pid), self.peak or 0) or None


def _peak_of(pid: int) -> int:
    """Bytes; 0 of a process that has ended, or where the system does not tell it."""
    with suppress(OSError):
        found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc", str(pid), "status").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    return 0


def memory_there_is() -> int:
    """Bytes that processes of this machine, or of this container, may hold together."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no container, or one without a limit
        there = min(there, int(LIMIT.read_text()))
    return there

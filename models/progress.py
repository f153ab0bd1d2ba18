"""How a learning job tells its supervisor how far it is: JSON lines appended to a file."""

import json
import time
from pathlib import Path

from data_contracts.errors import OvernightError

USER_ERROR, DISK_FULL = 2, 28
"""Exit statuses of a job whose error the user can mend; the second (ENOSPC) says what a full disk lets no file say."""


class Progress:
    """Writes one JSON line per event, at once; without a path it writes nothing.

    The file is no artifact: wall time stands in it and nothing is read back from it into a result.
    """

    def __init__(self, path: Path | None, *, errors_only: bool = False) -> None:
        """`errors_only`: one of several processes that do the same; another one tells how far they are."""
        self.path, self.errors_only = path, errors_only

    def report(self, done: int, total: int, **figures: float | str | None) -> None:
        """`done` of `total` parts of the job's work, with the figures of the moment."""
        self._tell({"event": "progress", "done": done, "total": total, **figures})

    def note(self, message: str) -> None:
        """Something that a person who watches should read."""
        self._tell({"event": "note", "message": message})

    def error(self, error: OvernightError) -> None:
        """Why the job ends without a result."""
        self._write({"event": "error", "type": type(error).__name__, "what": error.what, "where": error.where, "remedy": error.remedy})

    def _tell(self, event: dict[str, object]) -> None:
        if not self.errors_only:
            self._write(event)

    def _write(self, event: dict[str, object]) -> None:
        if self.path is None:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**event, "time": round(time.time(), 3)}, ensure_ascii=False) + "\n")

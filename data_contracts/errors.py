"""The errors a user can meet, as one tree.

    OvernightError
    ├── InputError        a file, row or model directory that was handed in cannot be used
    ├── RecipeError       a recipe, an option or a configuration value is wrong
    ├── StorageError      the disk, the artifact store or the lake could not take or give something
    │   ├── IntegrityError    what is stored differs from what was published
    │   └── BusyError         another process has what is wanted, and none waits for it
    └── StageError        a stage (or its worker process) failed while it ran

A message says what is wrong, where (file, row, column, artifact; at most five examples) and what to do about it.
"""

import errno
from collections.abc import Iterable

MAX_EXAMPLES = 5
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
FREE_SPACE = "free some space (`overnight gc --delete` removes what nothing needs any more)"
"""What to do about a full disk."""


class OvernightError(Exception):
    """Base of every error that is shown to users as one message, without a traceback."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(" ".join(part for part in (what, where and f"[{where}]", remedy and f"→ {remedy}") if part))


class InputError(OvernightError):
    """A file, row or model directory that was handed in cannot be used."""


class RecipeError(OvernightError):
    """A recipe, a command-line option or a configuration value is wrong."""


class StorageError(OvernightError):
    """The disk, the artifact store or the lake could not take or give something."""


class IntegrityError(StorageError):
    """What is stored differs from what was published."""


class BusyError(StorageError):
    """Another process has what is wanted, and none waits for it."""


class StageError(OvernightError):
    """A stage, or the worker process that ran it, failed."""


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that the disk is full.

    Libraries that write with code of their own (safetensors, Arrow, DuckDB) raise errors of their own that only quote the system's.
    """
    while error is not None:
        if (isinstance(error, OSError) and error.errno in DISK_FULL) or "no space left on device" in str(error).lower():
            return True
        error = error.__cause__ or error.__context__
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, or torch's on a GPU or, which torch tells as any runtime error, elsewhere."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)


def examples(items: Iterable[object]) -> str:
    """At most five of the items, and how many more there are: `a, b, c, d, e and 7 more`."""
    shown = [str(item) for item in items]
    more = len(shown) - MAX_EXAMPLES
    return ", ".join(shown[:MAX_EXAMPLES]) + (f" and {more} more" if more > 0 else "")

"""The command line: one `overnight` whose commands stand in `flows/commands`, and how each of them may end.

Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

import argparse
import atexit
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from importlib.metadata import version

from data_contracts.errors import FREE_SPACE, OvernightError, StorageError, is_disk_full
from flows.commands import feedback, metrics, models, night, reading, request, retention, service, simulate, versions
from flows.commands.common import FAILURE, INTERRUPTED, USER_ERROR, home_options

INTERRUPTED_TEXT = "overnight: interrupted; run the same command again to go on from here"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 0 when it ended as designed."""
    options = _parser().parse_args(arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's stop ends a night as Ctrl-C does
    try:
        return int(options.command(options))
    except OvernightError as error:
        print(f"overnight: {error}", file=sys.stderr)
        return USER_ERROR
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except BaseException as error:
        if was_interrupted(error):
            print(INTERRUPTED_TEXT, file=sys.stderr)
            return INTERRUPTED
        if not is_disk_full(error):
            raise
        full = StorageError(
            "the disk is full", where=str(getattr(options, "home", "")), remedy=f"{FREE_SPACE} and run again; finished stages are kept"
        )
        print(f"overnight: {full}", file=sys.stderr)
        return USER_ERROR


def was_interrupted(error: BaseException | None) -> bool:
    """Whether an error is an interruption, or what Prefect made of one: the signal may have ended the server that it started, too."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "TerminationSignal":
            return True
        error = error.__cause__ or error.__context__
    return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="overnight", description="Turns raw human comparisons into an audited, better-aligned model every night."
    )
    parser.add_argument("--version", action="version", version=f"overnight {version('overnight')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    home = home_options()
    for kind in (night, service, reading, versions, feedback, request, models, metrics, retention, simulate):
        kind.add(commands, home)
    return parser


def entry() -> None:
    """`main` as a process of its own: what is registered for the exit is run, and then the process ends at once.

    The server that Prefect starts for a night leaves a thread behind, which keeps DuckDB's objects alive through an ordinary
    exit; DuckDB's bindings then print pages about leaks that are none.
    """
    try:
        code = main()
    except Exception:  # ours, not the user's: it ends in a traceback
        traceback.print_exc()
        code = FAILURE
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    entry()

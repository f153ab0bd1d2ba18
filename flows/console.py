"""Where the command line prints: on a terminal as wide as it is, into a pipe or file as wide as the content is."""

import os

from rich.console import Console

WIDE = 4000
"""Columns where nobody looks at a terminal: no cell is cut, so that what is printed can be searched and kept."""


def new_console() -> Console:
    """A console for standard output; `COLUMNS` sets another width."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=WIDE)

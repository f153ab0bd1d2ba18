"""The progress display of the command line: one line per finished stage, a bar for the running one, the outcome at the end."""

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from flows.night import NightRecord
from flows.show import headline_text
from tasks.progress import Event, StageEnded, StageProgress, StageStarted, describe, listening

QUIET_SECONDS = 10.0
"""Where there is no terminal, a running stage prints a line at most this often."""


class ProgressDisplay:
    """Listens to the stages and shows them; where the output is no terminal it prints plain lines instead of a bar."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.running = self.bar.add_task("", total=None, figures="", visible=False)
        self.began = self.last_line = time.monotonic()
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        self.stack.enter_context(self.bar)
        self.stack.enter_context(listening(self))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stack.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, StageStarted):
            self.bar.reset(self.running, description=event.stage, total=None, figures="", visible=True)
        elif isinstance(event, StageProgress):
            text = describe(event)
            self.bar.update(self.running, completed=event.done, total=event.total or None, figures=text)
            if not self.console.is_terminal and time.monotonic() - self.last_line > QUIET_SECONDS:
                self._line(f"          {text}")
        elif isinstance(event, StageEnded):
            self.bar.update(self.running, visible=False)
            mark = "[dim]reused[/]" if event.reused else "[green]made[/]  "
            self._line(f"  {mark}  {event.stage:<22} {headline_text(event.headline)}")

    def _line(self, text: str) -> None:
        self.last_line = time.monotonic()
        self.console.print(f"[dim]{self.last_line - self.began:6.1f} s[/]{text}", highlight=False, soft_wrap=True)

    def summary(self, record: NightRecord) -> None:
        """Print the outcome and where to read on; every stage was told of when it ended."""
        self.console.print(f"[bold]outcome[/]         {record.outcome}  ({record.seconds:.0f} s)", highlight=False)
        if record.advice:
            self.console.print(f"{record.advice}\n", markup=False, highlight=False, soft_wrap=True)
        self.console.print(f"[bold]report[/]          {record.report}", highlight=False, soft_wrap=True)
        self.console.print(f"[bold]audit database[/]  {record.audit_database}", highlight=False, soft_wrap=True)

"""What the demonstration prints: each step as it begins, how long it has taken, how it ended.

In a terminal the present step is a living line; in a pipe or a log each change is a line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.spinner import Spinner
from rich.text import Text

from dsp_airflow.demo.errors import DemoError

QUIET_SECONDS = 10.0
REFRESH_PER_SECOND = 5.0

Tell = Callable[[str], None]


class Screen:
    """Prints steps to a console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.began

    @contextmanager
    def step(self, doing: str) -> Iterator[Tell]:
        """A step that takes a while; yields a function that tells the present state of it."""
        state = _Step(doing)
        tell: Tell = state.tell
        if self.console.is_terminal:
            live = Live(
                state,
                console=self.console,
                refresh_per_second=REFRESH_PER_SECOND,
                transient=True,
            )
        else:
            live = None
            self.line(f"  {escape(doing)} ...")
            tell = self._lines()
        try:
            if live is None:
                yield tell
            else:
                with live:
                    yield tell
        except BaseException:
            self.line(f"[red]✗[/] {escape(doing)} [dim]({state.seconds:.1f} s)[/]")
            raise
        self.line(f"[green]✓[/] {escape(doing)} [dim]({state.seconds:.1f} s)[/]")

    def line(self, text: str = "") -> None:
        """Print a line of rich markup."""
        # What reads a pipe does its own wrapping; a terminal's width is known.
        self.console.print(text, highlight=False, soft_wrap=not self.console.is_terminal)

    def failure(self, error: Exception) -> None:
        """Print what went wrong, and the end of the log that belongs to it."""
        self.line(f"\n[bold red]The demonstration failed:[/] {escape(str(error))}")
        if isinstance(error, DemoError) and error.detail:
            text = Text(error.detail, style="dim", overflow="fold")
            self.console.print(Padding(text, (0, 0, 0, 2)))

    def _lines(self) -> Tell:
        """Tell each change as a line, and from time to time that nothing has changed."""
        last: list[str] = []
        told = time.monotonic()

        def tell(text: str) -> None:
            nonlocal last, told
            now = time.monotonic()
            lines = text.splitlines()
            changed = [line for line in lines if line not in last]
            if changed or now - told > QUIET_SECONDS:
                for line in changed or lines[:1]:
                    self.line(f"    [dim]{self.seconds:5.0f} s[/] {escape(line)}")
                last, told = lines, now

        return tell


class _Step:
    """The living line of a step: spinner, words, seconds, and below it the present state."""

    def __init__(self, doing: str) -> None:
        self.began = time.monotonic()
        self._doing = doing
        self._told = ""
        self._spinner = Spinner("dots")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def tell(self, text: str) -> None:
        self._told = text

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        head = Text(f"{self._doing} ({self.seconds:.0f} s)")
        self._spinner.update(text=head)
        yield self._spinner
        for line in self._told.splitlines():
            yield Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis")

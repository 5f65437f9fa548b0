"""Who may write where: results go to stdout, everything else to stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDE = 10_000
"""Columns of an output that is no terminal: nothing is cut off or folded."""
SHORT = 12
"""Text of so few characters is not folded."""


@cache
def stdout() -> TextIO:
    """The real standard output, for results only.

    From the first call on, whatever else writes to standard output (a library, a subprocess)
    reaches standard error: a document on stdout stays the only thing there.
    """
    sys.stdout.flush()
    encoding = sys.stdout.encoding or "utf-8"
    own = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return io.TextIOWrapper(own, encoding=encoding, errors="backslashreplace", line_buffering=True)


def write(text: str) -> None:
    """One or more lines of the result."""
    stdout().write(text + "\n")
    stdout().flush()


def write_json(document: Mapping[str, Any]) -> None:
    """The one document of ``--json``."""
    write(json.dumps(document, indent=2, default=_plain))


def note(text: str, level: str = "INFO") -> None:
    """A line for the person at the terminal."""
    sys.stderr.write(f"[{level}] {text}\n")
    sys.stderr.flush()


def console() -> Console:
    """Rich on stdout."""
    from rich.console import Console

    stream = stdout()
    width = None if stream.isatty() else WIDE
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[str] = ()
) -> Table:
    """A plain table; the columns named in ``right`` hold numbers."""
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title or None, box=SIMPLE, title_justify="left", title_style="bold")
    numbers = set(right)
    cells = [[_shown(value) for value in row] for row in rows]
    for index, name in enumerate(columns):
        number = name in numbers
        longest = max([len(name), *(len(row[index]) for row in cells)])
        # Where the terminal is narrow, long texts fold; short ones and numbers stay readable.
        made.add_column(
            name,
            justify="right" if number else "left",
            no_wrap=number,
            min_width=longest if number else min(longest, SHORT),
        )
    for row in cells:
        made.add_row(*map(Text, row))
    return made


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(value)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)

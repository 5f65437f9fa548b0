"""Onlookers: a running job as lines of a log, or as bars on a terminal.

The lines of a copy are a contract, word by word. Those of check and purge follow their style.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from dsp_airflow.engine.events import BatchDone, BatchStarted, JobDone, JobStarted, Noted
from dsp_airflow.engine.ports import Phase

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

Emit = Callable[[str], object]
"""Takes one line, without its end."""

_STARTING = {
    "copy": ("Starting sync job: {job}", "Fetching records from source: {table}"),
    "check": ("Starting consistency check: {job}", "Comparing records in target: {table}"),
    "purge": ("Starting purge: {job}", "Deleting proved records from source: {table}"),
}
_DOING = {"copy": "Processing", "check": "Checking", "purge": "Purging"}
_DONE = {
    "copy": "Sync completed. Total: {total:,}, Success: {success:,}, Failed: {failed:,}",
    "check": "Check completed. Total: {total:,}, Compared: {success:,}, Different: {failed:,}",
    "purge": "Purge completed. Purged: {success:,}, Kept: {failed:,}",
}
_EXCEPTIONS = {"copy": "failed", "check": "differ", "purge": "were kept"}


def lines(event: object, tables: Mapping[str, str] | None = None) -> list[str]:
    """The lines that tell of an event; none for one that is not told.

    ``tables`` names a job's source table as its task file writes it (``users``); without an
    entry it is called what the plan calls it (``public.users``).
    """
    if isinstance(event, JobStarted):
        table = event.table
        if event.phase != "check":
            table = (tables or {}).get(event.job, table)
        told = [line.format(job=event.job, table=table) for line in _STARTING[event.phase]]
        return [*told, f"Total records: {event.rows:,}"]
    if isinstance(event, BatchStarted):
        place = f"batch {event.number}/{event.batches}"
        return [f"{_DOING[event.phase]} {place} ({event.rows} records)"]
    if isinstance(event, BatchDone) and event.exceptions:
        place = f"Batch {event.number}/{event.batches}"
        return [f"{place}: {event.exceptions:,} records {_EXCEPTIONS[event.phase]}"]
    if isinstance(event, JobDone):
        done = _DONE[event.phase]
        return [done.format(total=event.total, success=event.success, failed=event.failed)]
    if isinstance(event, Noted):
        return [event.text]
    return []


class LogWatch:
    """Emits the lines, those of one event together. Any number of threads may tell it."""

    def __init__(self, emit: Emit, tables: Mapping[str, str] | None = None) -> None:
        self._emit = emit
        self._tables = tables
        self._lock = threading.Lock()

    def on(self, event: object) -> None:
        """See ``ports.Watch``."""
        with self._lock:
            for line in lines(event, self._tables):
                self._emit(line)


class RichWatch:
    """Lines on a stream and, where that is a terminal, below them a bar per job and phase.

    A context: the bars are drawn from entry to exit. Any number of threads may tell it.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        tables: Mapping[str, str] | None = None,
        prefix: str = "[INFO] ",
    ) -> None:
        self._stream = stream or sys.stderr
        self._prefix = prefix
        self._log = LogWatch(self._write, tables)
        self._bars = _Bars(self._stream) if self._stream.isatty() else None

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.progress.stop()

    def on(self, event: object) -> None:
        """See ``ports.Watch``."""
        self._log.on(event)
        if self._bars is not None:
            self._bars.on(event)

    def expect(self, phase: Phase, job: str, done: int, total: int | None = None) -> None:
        """What of a phase that is about to begin was done before, and how much it is at all.

        In rows, as planned. Without it a bar begins at nothing and ends at the job's rows.
        """
        if self._bars is not None:
            self._bars.expect(phase, job, done, total)

    def _write(self, line: str) -> None:
        if self._bars is not None:
            self._bars.print(self._prefix + line)
        else:
            self._stream.write(f"{self._prefix}{line}\n")
            self._stream.flush()


class _Bars:
    """The bars. Rich is loaded for a terminal only, as it takes its time."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.progress: Progress = Progress(
            *_columns(), console=Console(file=stream), speed_estimate_period=10
        )
        self._lock = threading.Lock()
        self._tasks: dict[tuple[Phase, str], TaskID] = {}
        self._expected: dict[tuple[Phase, str], tuple[int, int | None]] = {}
        self._sizes: dict[tuple[Phase, str, int], int] = {}

    def print(self, line: str) -> None:
        self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def expect(self, phase: Phase, job: str, done: int, total: int | None) -> None:
        with self._lock:
            self._expected[phase, job] = (done, total)

    def on(self, event: object) -> None:
        with self._lock:
            if isinstance(event, JobStarted):
                self._begin(event)
            elif isinstance(event, BatchStarted):
                self._sizes[event.phase, event.job, event.number] = event.rows
            elif isinstance(event, BatchDone):
                # A batch that was only counted moves its bar by all its rows too.
                rows = self._sizes.pop((event.phase, event.job, event.number), event.rows)
                task = self._tasks.get((event.phase, event.job))
                if task is not None:
                    self.progress.advance(task, rows)
            elif isinstance(event, JobDone):
                self._end(event)

    def _begin(self, event: JobStarted) -> None:
        done, total = self._expected.pop((event.phase, event.job), (0, None))
        old = self._tasks.pop((event.phase, event.job), None)
        if old is not None:
            self.progress.remove_task(old)
        self._tasks[event.phase, event.job] = self.progress.add_task(
            f"{event.phase} {event.job}",
            total=event.rows if total is None else total,
            completed=done,
        )

    def _end(self, event: JobDone) -> None:
        task = self._tasks.get((event.phase, event.job))
        if task is None:
            return
        for known in self.progress.tasks:
            if known.id == task and known.total is not None:
                self.progress.update(task, completed=known.total)
        self.progress.stop_task(task)


def _columns() -> list[str | ProgressColumn]:
    from rich.progress import (
        BarColumn,
        ProgressColumn,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column
    from rich.text import Text

    class Rows(ProgressColumn):
        def render(self, task: Any) -> Text:
            rows = f"{int(task.completed):,}/{int(task.total or 0):,} rows"
            speed = task.finished_speed or task.speed
            return Text(rows + (f"  {int(speed):,} rows/s" if speed else ""))

    return [
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16),
        TaskProgressColumn(),
        Rows(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(elapsed_when_finished=True),
    ]

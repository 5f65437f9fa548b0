"""Ctrl-C and SIGTERM: the work stops at a batch edge; a second Ctrl-C does not wait for it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from dsp_airflow.engine.errors import DspError, Terminated

if TYPE_CHECKING:
    from dsp_airflow.cli.report import Report
    from dsp_airflow.steps import TaskRun

ABORT_SECONDS = 10.0
"""How long an abort may take to record itself."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WORKING = frozenset({"copying", "checking", "purging"})


class Stopper:
    """Installed from entry to exit. ``attach`` says which run a signal is meant for."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._run: TaskRun | None = None
        self._asked: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def attach(self, run: TaskRun) -> None:
        """From now on a signal stops this run; one that came before stops it at once."""
        self._run = run
        if self._asked is not None:
            run.pace.stop(self._asked)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._asked is None:
            self._asked = name
            if self._run is not None:
                self._run.pace.stop(name)
            # Not through sys.stderr: the signal may have come in the middle of a write to it.
            _say(f"[INFO] {name}: stopping at the next batch edge; Ctrl-C again aborts\n")
        elif number == signal.SIGINT:
            # On a thread: this one may hold the state database's lock or wait for workers.
            threading.Thread(target=self._abort, name="dsp-abort", daemon=True).start()

    def _abort(self) -> None:
        threading.Timer(ABORT_SECONDS, os._exit, (1,)).start()
        error = Terminated("aborted by a second Ctrl-C; run it again to go on")
        _say(f"[ERROR] {error}\n")
        self._report.error = error
        with contextlib.suppress(DspError):
            self._record(error)
        self._report.tell()
        os._exit(1)

    def _record(self, error: Terminated) -> None:
        if self._run is None:
            return
        for job in self._run.summary().jobs:
            if job.state in _WORKING:
                self._run.runs.move(self._run.run.id, job.name, "terminated", str(error))
        self._run.runs.finish(self._run.run.id, "terminated", str(error))


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, line.encode())

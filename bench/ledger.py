"""What a run of 1e9 rows costs besides them: its plan, its batches' records, its status.

The tables are hollow (``bench.hollow``): nothing is read or written but the state database. Of
each phase the first batches are worked and the last ones; those between are set forward as a
whole, so that the last ones stand where they do after a long run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event, text

from bench.hollow import TABLE, HollowStore
from bench.measure import Sample
from bench.report import Report
from bench.stage import JOB, SOURCE, TARGET, Stage
from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.errors import Terminated
from dsp_airflow.engine.events import BatchDone
from dsp_airflow.opening import open_run
from dsp_airflow.standing import standing
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from dsp_airflow.state.progress import batch_counts
from dsp_airflow.state.runs import Runs
from dsp_airflow.steps import TaskRun
from dsp_airflow.web.run_report import run_report

BATCHES, QUICK_BATCHES = 100_000, 2_000
FEWER = 10_000
"""With several workers."""
SLICE = 300
"""Batches that are worked one by one, at the beginning and at the end of a phase."""
WORKERS = (1, 2, 4)
PHASES = ("copy", "check", "purge")
STATE = "bench_state"
_RECORD = {
    "copy": ("copied", "rows_read", "rows_written", "bytes", "seconds", "copied_at"),
    "check": ("rows_checked", "rows_different", "compared", "checked_at"),
    "purge": ("rows_purged", "rows_kept", "purged_at"),
}


def measure_ledger(stage: Stage, report: Report, batches: int) -> None:
    stage.server.create_database(STATE)
    # The others leave vacuum to the benchmark; a ledger lives for days with it.
    for setting in ("autovacuum = on", "autovacuum_naptime = '5s'"):
        stage.execute("postgres", f"ALTER SYSTEM SET {setting}")
    stage.execute("postgres", "SELECT pg_reload_conf()")
    places = {
        "SQLite": f"sqlite:///{stage.folder / 'ledger.db'}",
        "PostgreSQL": stage.server.sqlalchemy_url(STATE),
    }
    for system, url in places.items():
        upgrade(url)
        for workers in WORKERS:
            count = batches if workers == 1 else min(batches, FEWER)
            _measured(stage, report, system, url, count, workers)


def _measured(
    stage: Stage, report: Report, system: str, url: str, batches: int, workers: int
) -> None:
    job: dict[str, Any] = {"purge": "manual", "check": {"percent": 10}, "workers": workers}
    task = stage.task(TABLE.partition(".")[2], **job)
    spec = {"step": "ledger", "url": url, "file": str(task.file), "batches": batches}
    what = f"{system}, {batches:,} batches, {workers} workers"
    sample, found = stage.run_step({**spec, "phase": "plan"})
    report.note("ledger", f"plan: {what}", _whole(sample, found))
    for phase in PHASES:
        first = stage.run_step({**spec, "phase": phase, "most": SLICE})
        with open_state(url) as database:
            _forward(database, found["run"], phase, batches)
        last = stage.run_step({**spec, "phase": phase})
        report.note(
            "ledger", f"{phase}: {what}", _each(*first), "the last of them", _each(*last, ends=True)
        )
    if workers == 1:
        for act in ("status", "page"):
            report.note("ledger", f"{act}: {what}", _whole(*stage.run_step({**spec, "phase": act})))


def _whole(sample: Sample, found: Mapping[str, Any]) -> str:
    return (
        f"{sample.cpu + (sample.server or 0):.1f} s CPU, {found['statements']:,} statements, "
        f"{(sample.peak or 0) / 2**20:.0f} MB"
    )


def _each(sample: Sample, found: Mapping[str, Any], *, ends: bool = False) -> str:
    batches = found["worked"]
    server = 1000 * (sample.server or 0) / batches
    end = f" ended in {found['ended']:.1f} s," if ends else ""
    return (
        f"{1000 * found['cpu'] / batches:.2f} + {server:.2f} ms CPU, "
        f"{found['statements'] / batches:.1f} statements; begun after {found['begun']:.1f} s,{end} "
        f"{(sample.peak or 0) / 2**20:.0f} MB"
    )


def _forward(database: StateDatabase, run: str, phase: str, batches: int) -> None:
    """As if all but the last batches were through: each with the record of the first one."""
    columns = ", ".join(_RECORD[phase])
    with database.write() as connection:
        connection.execute(
            text(
                f"UPDATE batches SET ({columns}) = (SELECT {columns} FROM batches b "
                "WHERE b.run = :run AND b.number = 1) WHERE run = :run AND number <= :last "
                f"AND {_RECORD[phase][-1]} IS NULL"
            ),
            {"run": run, "last": batches - SLICE},
        )


# In a process of its own


class Worked:
    """Counts from the first batch to the last one; asks for the end after so many."""

    def __init__(self, most: int | None) -> None:
        self.most = most
        self.stop: Callable[[], None] = lambda: None
        self.statements = 0
        self._batches = 0
        self._began = time.perf_counter()
        self._first: tuple[float, float, int] | None = None
        self._last = (0.0, 0.0, 0)
        self._lock = threading.Lock()

    def on(self, happened: object) -> None:
        if not isinstance(happened, BatchDone):
            return
        with self._lock:
            self._batches += 1
            self._last = (time.perf_counter(), time.process_time(), self.statements)
            self._first = self._first or self._last
            if self._batches == self.most:
                self.stop()

    def found(self) -> dict[str, Any]:
        if self._first is None:
            return {"statements": self.statements}
        (begun, used, before), (ended, until, after) = self._first, self._last
        return {
            "worked": self._batches - 1,
            "cpu": until - used,
            "statements": after - before,
            "begun": begun - self._began,
            "ended": time.perf_counter() - ended,
        }


def act(spec: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    """One phase, or a look; for ``bench.worker``."""
    file, batches = Path(spec["file"]), spec["batches"]
    stores = {
        SOURCE: HollowStore(SOURCE, batches, holds=True),
        TARGET: HollowStore(TARGET, batches, holds=False),
    }
    database = open_state(spec["url"])

    def work() -> dict[str, Any]:
        phase = spec["phase"]
        worked = Worked(spec.get("most"))
        run = open_run(database, load_task(file), file, stores.__getitem__, watch=worked)
        worked.stop = lambda: run.pace.stop("measured")
        with _counted(database, worked):
            if phase in {"status", "page"}:
                _look(database, run.run.id, phase)
            else:
                _step(run, phase)
        return {**worked.found(), "run": run.run.id}

    return work


def _step(run: TaskRun, phase: str) -> None:
    run.begin()
    try:
        getattr(run, phase)(JOB)
    except Terminated as stopped:
        if "measured" not in str(stopped):
            raise


def _look(database: StateDatabase, run: str, what: str) -> None:
    """What ``dsp status RUN`` shows, and the run's page."""
    runs = Runs(database)
    found = runs.get(run)
    if what == "page":
        run_report(database, found.dag, run)
        return
    runs.summary(run)
    standing(runs, found)
    batch_counts(database, run, JOB)
    list(runs.each_batch(run, JOB, remarkable=True))


@contextmanager
def _counted(database: StateDatabase, worked: Worked) -> Iterator[None]:
    def count(*_: object) -> None:
        worked.statements += 1

    event.listen(database.engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", count)

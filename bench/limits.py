"""``python -m bench.limits``: are limits kept, and how soon does a change of them take effect?

Beside the other benchmarks, as it measures waiting: it takes minutes, and next to no CPU.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg.conninfo

from bench.measure import FailedError
from bench.stage import JOB, SOURCE, TARGET, Stage, stage
from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.events import BatchStarted
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.postgres import PostgresStore
from dsp_airflow.opening import open_run
from dsp_airflow.state.database import StateDatabase, open_state
from dsp_airflow.state.limit_changes import LimitChanges
from dsp_airflow.steps import TaskRun

TABLE = "bench_limits"
RATE = 1_000
"""Rows a second."""
SECONDS = 30
"""How long one measurement of the rate takes."""
BATCH = 500
WORKERS = (1, 2, 4)


@dataclass
class Begun:
    """When which batch began. The engine's onlooker."""

    rows: list[tuple[float, int]]

    def on(self, event: object) -> None:
        if isinstance(event, BatchStarted):
            self.rows.append((time.monotonic(), event.rows))

    def between(self, start: float, end: float) -> int:
        return sum(rows for at, rows in self.rows if start <= at < end)

    def first_after(self, moment: float) -> float:
        return next(at for at, _ in self.rows if at >= moment)


def main() -> None:
    with stage(RATE * SECONDS, rounds=1) as place, open_state(place.state) as database:
        place.execute(SOURCE, f"CREATE TABLE {TABLE} (id bigint PRIMARY KEY, v text)")
        place.execute(
            SOURCE,
            f"INSERT INTO {TABLE} SELECT n, 'v' || n FROM generate_series(1, {place.rows}) n",
        )
        print("| what | limit | found |\n|---|---|---|")
        for workers in WORKERS:
            _rate(place, database, workers)
        _change(place, database)
        _window(place, database)


def _rate(place: Stage, database: StateDatabase, workers: int) -> None:
    """Of all but the first batch, which nobody has to wait for."""
    run, begun = _planned(place, database, {"rows_per_second": RATE}, workers)
    run.copy(JOB)
    began, ended = begun.rows[0][0], begun.rows[-1][0]
    found = begun.between(began, ended) / (ended - began)
    _tell(
        f"copy, {workers} workers, batches of {BATCH}",
        f"{RATE:,} rows/s",
        f"{found:,.0f} rows/s ({found / RATE - 1:+.1%})",
    )


def _change(place: Stage, database: StateDatabase) -> None:
    """From a hundred rows a second, where each batch waits for seconds, to the whole rate."""
    run, begun = _planned(place, database, {"rows_per_second": RATE // 50}, 2)
    with _beside(lambda: run.copy(JOB)):
        time.sleep(12)
        asked = time.monotonic()
        LimitChanges(database, run.run.id).set(None, {"rows_per_second": RATE}, "bench")
        time.sleep(10)
        soon = next(
            at for at, _ in begun.rows if at > asked and begun.between(at, at + 1) > RATE / 2
        )
        run.pace.stop("measured")
    _tell("a higher limit, set while the job waits", "5 s", f"{soon - asked:.1f} s")


def _window(place: Stage, database: StateDatabase) -> None:
    """Closed for the minute after next."""
    shuts = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    if shuts - datetime.now(UTC) < timedelta(seconds=20):
        shuts += timedelta(minutes=1)
    opens = shuts + timedelta(minutes=1)
    run, begun = _planned(
        place, database, {"rows_per_second": RATE // 5, "window": f"{opens:%H:%M}-{shuts:%H:%M}"}, 2
    )
    with _beside(lambda: run.copy(JOB)):
        _sleep_until(opens + timedelta(seconds=15))
        run.pace.stop("measured")
    edge = time.monotonic() - (datetime.now(UTC) - shuts).total_seconds()
    late = [at - edge for at, _ in begun.rows if 0 <= at - edge < 60]
    _tell("batches that began in the closed window", "1 each", f"{len(late)} of 2 workers")
    if late:
        _tell("and how late", "1 s", f"{max(late):.1f} s")
    again = begun.first_after(edge + 60) - edge - 60
    _tell("the first batch after it opened again", "1 s", f"{again:.1f} s")


def _planned(
    place: Stage, database: StateDatabase, limits: Mapping[str, Any], workers: int
) -> tuple[TaskRun, Begun]:
    place.execute(TARGET, f"DROP TABLE IF EXISTS {TABLE}")
    task = place.task(TABLE, check="none", batch_size=BATCH, workers=workers, limits=dict(limits))
    begun = Begun([])

    def store(name: str) -> Store:
        return PostgresStore(name, psycopg.conninfo.conninfo_to_dict(place.server.uri(name)))

    run = open_run(database, load_task(task.file), task.file, store, watch=begun, new=True)
    run.begin()
    run.plan(JOB)
    return run, begun


@contextmanager
def _beside(act: Callable[[], object]) -> Iterator[None]:
    """``act`` works on a thread, and has ended when the block has; it may have been stopped."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - looked at below
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(120)
    if thread.is_alive() or not all("measured" in str(error) for error in failed):
        raise FailedError(f"the copy did not stop as it was told: {failed}")


def _sleep_until(moment: datetime) -> None:
    time.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def _tell(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

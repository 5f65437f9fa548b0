"""``python -m bench.scaling``: what a second Celery worker gains.

Beside the other benchmarks, as it starts a whole Airflow. The workers take one task at a time, so
a job of one shard has one of them and a job of two shards both. Two tables: one whose batches keep
the processors busy, one whose batches wait, as for a server far away.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from bench import servercpu, tables
from bench.measure import FailedError
from dsp_airflow.demo.rest import AirflowApi
from dsp_airflow.state.database import upgrade
from tests.e2e.celery_airflow import CeleryAirflow
from tests.servers import Database, RedisServer, fresh_database, postgres

REPOSITORY = Path(__file__).parents[1]
WORKERS = ("one", "two")
SHARDS = (1, 2)
BATCHES = 100
PAUSE = 0.1
"""Seconds that a batch of the second table waits in its transaction."""
RUN_SECONDS = 900.0

TASK = """\
name: {name}
jobs:
  - name: job
    type: warm
    source: {{connection: shop, table: public.{table}}}
    target: {{connection: warehouse, table: public.{name}, create: never}}
    batch_size: {batch}
    shards: {shards}
    check: {{percent: 100}}
"""
# From the first batch's begin to the last one's end, by the state database's clock.
SECONDS = """
SELECT extract(epoch FROM max(copied_at) - min(copied_at - seconds * interval '1 second'))::float8,
       extract(epoch FROM max(checked_at) - min(checked_at))::float8,
       min(rows_different), max(rows_different), sum(rows_checked)::bigint
FROM batches JOIN runs ON runs.id = batches.run
WHERE runs.external_key = %s
"""


@dataclass(frozen=True)
class Found:
    """One run."""

    copy: float
    check: float
    workers_cpu: float
    server_cpu: float


@dataclass
class Place:
    """Airflow and the databases around it."""

    airflow: CeleryAirflow
    api: AirflowApi
    source: Database
    target: Database
    state: Database

    def run(self, name: str, run: str, rows: int) -> Found:
        self.target.execute(f"TRUNCATE {name}", "VACUUM", "CHECKPOINT")
        server = self.source.server.pid
        before = self._workers_cpu(), servercpu.seconds(server)
        self.api.trigger(name, run)
        if self.api.wait_for_run(name, run, RUN_SECONDS) != "success":
            raise FailedError(f"run {run} of {name} failed")
        after = self._workers_cpu(), servercpu.seconds(server)
        ((copy, check, *different, checked),) = self.state.rows(SECONDS, f"{name}/{run}")
        if different != [0, 0] or checked != rows:
            raise FailedError(f"{name}: {checked} rows of {rows} checked, {different} differ")
        return Found(copy, check, after[0] - before[0], after[1] - before[1])

    def _workers_cpu(self) -> float:
        """Of tasks that have ended, too: they are in the account of those who waited for them."""
        found = [process for name in WORKERS for process in self.airflow.worker_processes(name)]
        return sum(sum(process.cpu_times()[:4]) for process in found)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000, help="of the busy table")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    sizes = {"busy": given.rows, "waits": BATCHES * 1_000}
    found: dict[tuple[str, int], list[Found]] = {}
    load = psutil.getloadavg()[0]
    with place(sizes) as there:
        for number in range(given.rounds):
            for table, shards in itertools.product(sizes, SHARDS if number % 2 else SHARDS[::-1]):
                one = there.run(f"{table}{shards}", f"round{number}", sizes[table])
                found.setdefault((table, shards), []).append(one)
    print(
        f"{given.rows:,} rows, and {BATCHES} batches of 1,000 rows that wait {PAUSE:g} s each; "
        f"median of {given.rounds}; {psutil.cpu_count()} cores for everything, load {load:.1f} "
        "before.\n"
    )
    _tell(found, sizes)


def _tell(found: dict[tuple[str, int], list[Found]], sizes: dict[str, int]) -> None:
    print("| table | step | 1 worker, s | 2 workers, s | speed-up | spread |")
    print("|---|---|---:|---:|---:|---:|")
    for table, step in itertools.product(sizes, ("copy", "check")):
        one, two = ([getattr(f, step) for f in found[table, shards]] for shards in SHARDS)
        spread = max((max(s) - min(s)) / median(s) for s in (one, two))
        times = f"{median(one):.1f} | {median(two):.1f} | {median(one) / median(two):.2f}"
        print(f"| {table} | {step} | {times} | {spread:.0%} |")
    print("\n| CPU seconds of a whole run | 1 worker | 2 workers |\n|---|---:|---:|")
    for table, whose in itertools.product(sizes, ("workers_cpu", "server_cpu")):
        one, two = ([getattr(f, whose) for f in found[table, shards]] for shards in SHARDS)
        name = f"{table}, {whose.removesuffix('_cpu')}"
        print(f"| {name} | {median(one):.1f} | {median(two):.1f} |")


@contextmanager
def place(sizes: dict[str, int]) -> Iterator[Place]:
    """Everything started, the source filled, the tasks there."""
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="dsp-scaling-"))
        stack.callback(shutil.rmtree, home)
        settings = {"max_wal_size": "8GB", "shared_buffers": "512MB", "autovacuum": "off"}
        # Airflow's and the ledger's work is not the server's.
        data = stack.enter_context(postgres("18", settings=settings))
        other = stack.enter_context(postgres("15"))
        broker = stack.enter_context(RedisServer())
        source, target = (stack.enter_context(fresh_database(data)) for _ in range(2))
        state, metadata = (stack.enter_context(fresh_database(other)) for _ in range(2))
        _fill(source, target, sizes)
        upgrade(state.uri)
        airflow = CeleryAirflow(
            home,
            dags=_dags(home / "dags", sizes),
            plugins=REPOSITORY / "plugins",
            state_url=state.uri,
            metadata_url=metadata.uri,
            broker=broker.url,
            connections={"shop": source.uri, "warehouse": target.uri},
            workers=WORKERS,
        )
        stack.enter_context(airflow)
        api = airflow.wait_until_ready()
        stack.callback(api.close)
        for table, shards in itertools.product(sizes, SHARDS):
            api.wait_for_dag(f"{table}{shards}", 120)
            api.unpause(f"{table}{shards}")
        yield Place(airflow, api, source, target, state)


def _fill(source: Database, target: Database, sizes: dict[str, int]) -> None:
    target.execute(
        "CREATE FUNCTION takes_time() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN PERFORM pg_sleep({PAUSE}); RETURN NULL; END $$"
    )
    for table, rows in sizes.items():
        source.execute(*tables.create(table).split("; "), tables.fill(rows, table))
        for shards in SHARDS:
            target.execute(*tables.create(f"{table}{shards}").split("; "))
    for shards in SHARDS:
        target.execute(
            f"CREATE TRIGGER takes_time BEFORE INSERT ON waits{shards} "
            "EXECUTE FUNCTION takes_time()"
        )
    source.execute("VACUUM ANALYZE")


def _dags(folder: Path, sizes: dict[str, int]) -> Path:
    (folder / "tasks").mkdir(parents=True)
    shutil.copy(REPOSITORY / "dags" / "dsp_tasks.py", folder)
    for (table, rows), shards in itertools.product(sizes.items(), SHARDS):
        text = TASK.format(
            name=f"{table}{shards}", table=table, batch=rows // BATCHES, shards=shards
        )
        (folder / "tasks" / f"{table}{shards}.yaml").write_text(text)
    return folder


if __name__ == "__main__":
    main()

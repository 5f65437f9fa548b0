"""Reports: the same whether jobs were summed up or not, and what is abnormal."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from dsp_airflow.state import reports
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.reports import Period
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.tables import BATCHES, JOBS, MOVED
from tests.state.samples import ran


@pytest.fixture(params=["sqlite", "pg15"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The statements are the same on every PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'dsp.db'}"
    url: str = request.getfixturevalue("pg15_db").sqlalchemy_url
    return url


def everything(state: StateDatabase, period: Period) -> list[Any]:
    with state.read() as connection:
        return [
            reports.jobs(connection, period, limit=99, order="task", descending=False),
            reports.flow(connection, period, 9),
            reports.days(connection, period),
            reports.archives(connection, period, limit=9),
            reports.abnormal(connection, period, state.now(), limit=9),
        ]


def test_sums_of_jobs_that_succeeded_are_those_of_their_batches(state: StateDatabase) -> None:
    now = state.now()
    early = now - timedelta(days=40)
    ran(state, "cold", rows=3, at=early)
    ran(state, "cold", rows=5)
    # Runs of one second have their order by chance.
    slow = max(ran(state, "orders", rows=1000, until="copied") for _ in range(4))
    with state.write() as connection:
        connection.execute(update(BATCHES).where(BATCHES.c.run == slow).values(seconds=50.0))
    for run in Runs(state).recent("orders"):
        Runs(state).move(run.id, "one", "succeeded")
    failed = ran(state, "visits", rows=7, until="failed")
    kept = ran(state, "visits", rows=7, rows_purged=6, rows_kept=1)
    silent = ran(state, "events", rows=2, until="copying")
    period = Period(now - timedelta(days=30), now + timedelta(days=1))
    with state.write() as connection:
        connection.execute(
            update(JOBS).where(JOBS.c.run == silent).values(seen_at=now - timedelta(hours=1))
        )
        assert len(connection.execute(select(MOVED)).all()) == 7
    found = everything(state, period)
    (jobs, total), flow, days, (archives, ways), (abnormal, many) = found
    assert total == len(jobs) == 4
    assert [(one.task, one.runs, one.succeeded, one.rows_copied, one.bytes) for one in jobs] == [
        ("cold", 2, 0, 16, 160),
        ("events", 1, 0, 4, 40),
        ("orders", 4, 0, 8000, 80_000),
        ("visits", 2, 0, 28, 280),
    ]
    assert [(one.source, one.target, one.rows) for one in flow] == [
        ("pg", "dw", 8032),
        ("pg", "s3", 16),
    ]
    assert [(one.day, one.types, one.rows_copied) for one in days] == [
        (f"{early:%Y-%m-%d}", "s3", 6),
        (f"{now:%Y-%m-%d}", "s3", 10),
        (f"{now:%Y-%m-%d}", "warm", 8032),
    ]
    (archive,) = archives
    assert (ways, archive.target, archive.rows_before, archive.bytes_before) == (1, "b/p", 6, 60)
    assert archive.days == ((f"{now:%Y-%m-%d}", 10, 100),)
    assert many == len(abnormal) == 3
    assert {one.task: (one.run, one.reasons, one.error) for one in abnormal} == {
        "orders": (slow, ["slow"], None),
        "visits": (max(failed, kept), ["failed", "kept"], None if kept > failed else "it broke"),
        "events": (silent, ["silent"], None),
    }
    slowest = next(one for one in abnormal if one.task == "orders")
    assert slowest.last_speed == pytest.approx(20)
    assert slowest.usual_speed == pytest.approx(8000 / 106)

    # Without the sums the batches are read: the same.
    with state.write() as connection:
        connection.execute(delete(MOVED))
    assert everything(state, period) == found
    # What some may not see is in none of them, and a page has its part.
    with state.read() as connection:
        some = replace(period, dags={"orders"})
        assert [one.source for one in reports.flow(connection, some, 9)] == ["pg"]
        assert reports.archives(connection, some, limit=9) == ([], 0)
        page, total = reports.jobs(connection, period, limit=1, offset=1, order="speed")
        assert (total, [one.task for one in page]) == (4, ["visits"])
        assert reports.jobs(connection, period, limit=9, name="RDERS")[1] == 1


def test_a_job_that_is_worked_on_again_is_summed_up_anew(state: StateDatabase) -> None:
    run = ran(state, "orders", rows=100)
    now = state.now()
    period = Period(now - timedelta(days=1), now + timedelta(days=1))

    def purged() -> int:
        with state.read() as connection:
            ((job,), _) = reports.jobs(connection, period, limit=9)
        return job.rows_purged

    assert purged() == 0
    Runs(state).move(run, "one", "purging")
    with state.write() as connection:
        connection.execute(update(BATCHES).where(BATCHES.c.number == 1).values(rows_purged=60))
    assert purged() == 60, "while it works"
    Runs(state).move(run, "one", "succeeded")
    assert purged() == 60
    Runs(state).new_attempt(run, "one")
    assert purged() == 60, "planned anew, what was deleted stays told"

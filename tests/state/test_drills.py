"""Drills in the state database: what is reported of them, and what they have left."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from dsp_airflow.state import drill_report
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.drill_report import DrillFigures, Tried
from dsp_airflow.state.drills import Drills, Left
from dsp_airflow.state.reports import Period
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.tables import JOBS, RUNS
from tests.state.samples import DIFFER, drilled, made_at, ran


@pytest.fixture(params=["sqlite", "pg15"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The statements are the same on every PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'dsp.db'}"
    url: str = request.getfixturevalue("pg15_db").sqlalchemy_url
    return url


def page(state: StateDatabase, period: Period, **how: Any) -> tuple[list[DrillFigures], int]:
    with state.read() as connection:
        return drill_report.drills(connection, period, **{"limit": 99, **how})


def tried(state: StateDatabase, period: Period) -> list[Tried]:
    with state.read() as connection:
        return drill_report.tried(connection, period, 9)


def test_what_drills_came_to_and_which_archives_wait(state: StateDatabase) -> None:
    now = state.now()
    days = [now - timedelta(days=n) for n in range(60)]
    archived = [ran(state, "cold", rows=9) for _ in range(4)]
    for n, run in enumerate(archived):
        made_at(state, run, days[50 - n])
    unlike = ran(state, "orders", rows=9)
    unfinished = ran(state, "cold", rows=9, until="copying", copied_at=None)
    period = Period(days[30], now + timedelta(days=1))
    first, second, third, fourth = archived
    nothing = drilled(state, days[29], None)
    early = drilled(state, days[40], first)
    right = drilled(state, days[20], second)
    wrong = drilled(state, days[10], third, "failed")
    again = drilled(state, days[9], first, "failed")
    stopped = drilled(state, days[8], fourth, "terminated")
    working = drilled(state, days[7], fourth, "copying")
    Drills(state).dropped(right, "one")

    found, total = page(state, period)
    assert total == len(found) == 6
    told = {
        one.run: (one.result, one.tried, one.rows_restored, one.rows_different) for one in found
    }
    assert list(told.items()) == [
        (working, ("working", fourth, 10, 0)),
        (stopped, ("terminated", fourth, 10, 0)),
        (again, ("failed", first, 10, 4)),
        (wrong, ("failed", third, 10, 4)),
        (right, ("right", second, 10, 0)),
        (nothing, ("failed", None, 0, 0)),
    ]
    its = {one.run: one for one in found}
    assert its[right].target is None
    assert its[wrong].target == f"t_{wrong}"
    assert (its[wrong].batches, its[wrong].batches_tried, its[wrong].batches_archived) == (
        "1-2",
        2,
        2,
    )
    assert (its[wrong].error, its[nothing].error) == (DIFFER, "nothing to try")
    assert its[right].ended_at is not None
    assert its[right].restored_from is not None
    failed, many = page(state, period, failed=True, limit=2, offset=1)
    assert ([one.run for one in failed], many) == ([again, wrong], 4)
    assert page(state, Period(days[59], days[35]))[0][0].run == early
    assert page(state, Period(days[30], now, {"cold"})) == ([], 0)

    (line,) = tried(state, period)
    # What was right once and wrong since fails; one that was stopped or goes on says nothing.
    assert line == Tried("cold", "one", 4, 1, 2, days[9], line.longest, line.longest_since)
    assert (line.longest, line.longest_since) == (third, days[48])
    # By its end: before the drills of the period the first one alone was tried.
    (line,) = tried(state, Period(days[59], days[30]))
    assert (line.never, line.failing, line.longest, line.last_at) == (3, 0, second, days[40])
    assert tried(state, Period(days[30], now, {"orders"})) == []
    assert {unlike, unfinished}.isdisjoint(its)


def test_what_is_left_and_may_be_dropped(state: StateDatabase) -> None:
    now = state.now()
    runs, drills = Runs(state), Drills(state)
    archived = ran(state, "cold", rows=9)

    def left(run: str) -> list[str]:
        return [one.run for one in drills.left(runs.get(run), "one", "pg")]

    failed = drilled(state, now - timedelta(days=30), archived, "failed")
    for n in range(25):
        drilled(state, now - timedelta(days=20, hours=n), None)
    killed = drilled(state, now - timedelta(days=9), archived, "copying")
    airflows = drilled(state, now - timedelta(days=8), archived, "copying")
    present = drilled(state, now, archived, "planned")
    with state.write() as connection:
        long_ago = update(JOBS).values(seen_at=now - timedelta(days=8))
        connection.execute(long_ago.where(JOBS.c.run != killed))
        connection.execute(
            update(JOBS).where(JOBS.c.run == killed).values(seen_at=now - timedelta(seconds=5))
        )
        airs = update(RUNS).where(RUNS.c.id == airflows)
        connection.execute(airs.values(external_key="drill/by_hand"))
    # Somebody is at work, or Airflow goes on with it; however many drills there were since.
    assert left(present) == [failed]
    with state.write() as connection:
        connection.execute(long_ago)
    assert left(present) == [failed, killed]
    runs.finish(airflows, "failed")
    assert left(present) == [failed, killed, airflows]
    assert drills.left(runs.get(present), "one", "elsewhere") == []
    assert drills.left(runs.get(present), "other", "pg") == []
    assert drills.left(runs.get(present), "one", "pg")[0] == Left(failed, f"t_{failed}")
    drills.dropped(failed, "one")
    assert left(present) == [killed, airflows]
    assert left(failed) == []

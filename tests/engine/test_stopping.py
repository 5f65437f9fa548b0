"""Runs that somebody ends by hand, and steps that leave when their window closes."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from dsp_airflow.engine.errors import Closed, Refused, Terminated, Transient
from dsp_airflow.engine.work import _rank
from dsp_airflow.standing import standing
from dsp_airflow.state.limit_changes import LimitChanges
from dsp_airflow.state.stops import SILENT
from dsp_airflow.state.tables import JOBS
from dsp_airflow.steps import TaskRun
from tests.engine.scenes import Db, small
from tests.engine.test_rates import Step, shut


def rate(run: TaskRun, rows: int | None) -> None:
    LimitChanges(run.database, run.run.id).set(None, {"rows_per_second": rows}, None)


def stopped(run: TaskRun, phase: str) -> Terminated:
    """Somebody asks while workers wait for their turn; how it ended."""
    rate(run, 1)
    step = Step(run, phase)
    step.wait_for("is held to 1 rows/s")
    asked = time.monotonic()
    assert run.runs.request_stop(run.run.id, "ann", "too loud")
    error = step.end()
    assert time.monotonic() - asked < 20
    assert isinstance(error, Terminated)
    assert "ann asked it to stop: too loud; run it again to go on" in str(error)
    assert [b.holder for b in run.runs.batches(run.run.id, "copy")] == [None] * 3
    assert run.runs.job(run.run.id, "copy").state == "terminated"
    rate(run, None)
    return error


def test_a_stop_is_heard_in_every_phase_and_the_run_goes_on_later(bench: Db) -> None:
    run = small(bench, rows=300, batch_size=100, workers=2)
    for phase in ("copy", "check", "purge"):
        run.finish(stopped(run, phase))
        ended = run.runs.get(run.run.id)
        assert (ended.state, ended.stop_requested_by) == ("terminated", "ann")
        run = bench.open()
        assert run.run.id == ended.id
        assert run.run.stop is None
        getattr(run, phase)("copy")
    assert run.runs.job(run.run.id, "copy").state == "succeeded"
    assert bench.source.value("SELECT count(*) FROM t") == 0
    assert bench.target.value("SELECT count(*) FROM t") == 300


def test_who_waits_for_a_lock_in_the_database_hears_of_a_stop(bench: Db) -> None:
    """Long before `timeouts.lock`: of a row that somebody holds, and of another run's copy."""
    run = small(bench, rows=300, batch_size=100, timeouts={"lock": "1h"})
    run.copy("copy")
    run.check("copy")
    row = "SELECT * FROM t WHERE id = 50 FOR UPDATE"
    copying = 'SELECT pg_advisory_lock_shared(hashtextextended(\'dsp_airflow "public"."t"\', 0))'
    for place, held in ((bench.source, row), (bench.target, copying)):
        with place.connect() as somebody:
            somebody.execute("BEGIN")
            somebody.execute(held.encode())
            step = Step(run, "purge")
            wait_until(lambda place=place: place.value(WAITS) == 1)  # type: ignore[misc]
            asked = time.monotonic()
            run.runs.request_stop(run.run.id, "ann", "now")
            error = step.end()
            assert time.monotonic() - asked < 20
        assert isinstance(error, Terminated), error
        first = run.runs.batches(run.run.id, "copy")[0]
        assert (first.holder, first.error, first.rows_purged) == (None, None, 0)
        run.finish(error)
        run = bench.open()
    assert run.purge("copy").rows_purged == 300


WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
    "AND datname = current_database()"
)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_no_step_begins_once_a_stop_is_asked_for(bench: Db) -> None:
    run = small(bench)
    run.runs.request_stop(run.run.id, "ann")
    for step in ("plan", "copy", "check", "purge"):
        with pytest.raises(Terminated, match="ann asked it to stop"):
            getattr(bench.open(), step)("copy")
    assert bench.target.value("SELECT to_regclass('t') IS NULL")


def test_a_purge_by_hand_of_an_ended_run_stops_too_and_goes_on(bench: Db) -> None:
    run = small(bench, rows=300, batch_size=100, purge="manual")
    run.copy("copy")
    run.check("copy")
    run.finish()
    assert not run.runs.request_stop(run.run.id, "ann"), "nobody works on it"
    stopped(bench.latest(), "purge")
    assert run.runs.get(run.run.id).state == "succeeded"
    # The request is as old as the purge that it stopped.
    assert bench.latest().purge("copy").rows_purged == 300


def test_a_step_leaves_when_its_window_closes_and_ends_when_no_batch_is_left(bench: Db) -> None:
    run = small(bench, rows=300, batch_size=100, workers=3, limits={"window": shut()})
    run.leaves = True
    with pytest.raises(Closed, match=r"job copy: limits.window is .*; it opens at"):
        run.copy("copy")
    assert run.summary().jobs[0].batches_copied == 0
    assert [(b.holder, b.error) for b in run.runs.batches(run.run.id, "copy")] == [(None, None)] * 3
    assert run.runs.job(run.run.id, "copy").state == "copying"
    [note] = standing(run.runs, run.runs.get(run.run.id))
    assert str(note).startswith("copy: waiting for the window until ")
    assert str(note).endswith(" UTC")

    changes = LimitChanges(run.database, run.run.id)
    changes.set(None, {"window": None}, "ann")
    run.copy("copy")
    run.check("copy")
    changes.set(None, {"window": shut()}, "ann")
    # Nothing waits for a night that it has no use for.
    run.copy("copy")
    run.check("copy")
    with pytest.raises(Closed):
        run.purge("copy")
    changes.set(None, {"window": None}, "ann")
    assert run.purge("copy").rows_purged == 300


def test_a_job_that_nobody_works_on_is_not_told_as_if(bench: Db) -> None:
    run = small(bench)
    run.runs.move(run.run.id, "copy", "copying")
    assert standing(run.runs, run.run) == []
    with run.database.write() as connection:
        long_ago = run.database.now() - SILENT - timedelta(seconds=1)
        connection.execute(update(JOBS).values(seen_at=long_ago))
    [note] = standing(run.runs, run.run)
    assert f"nobody has worked on it since {long_ago:%Y-%m-%d %H:%M:%S} UTC" in note.text
    run.runs.request_stop(run.run.id, "ann")
    first, _ = standing(run.runs, run.runs.get(run.run.id))
    assert str(first).startswith("ann asked it to stop; it does so at the edge of the batches")


def test_of_several_errors_the_one_to_act_on_is_raised() -> None:
    found = [Closed("late"), Transient("cut"), Terminated("asked"), Refused("no"), ValueError("x")]
    assert [type(e) for e in sorted(found, key=_rank)] == [
        Refused,
        ValueError,
        Terminated,
        Transient,
        Closed,
    ]

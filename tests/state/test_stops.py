"""Asking a run to stop: who asked, and who could hear of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.state.keeper import Keeper
from dsp_airflow.state.records import JobState
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.stops import SILENT
from dsp_airflow.state.tables import JOBS
from tests.state.samples import JOB, planned

WORKING: tuple[JobState, ...] = ("planned", "copying")


def test_the_first_who_asks_is_remembered_until_the_run_begins_again(runs: Runs) -> None:
    ledger = planned(runs, 1)
    run = ledger.run_id
    assert runs.get(run).stop is None
    assert runs.request_stop(run, "ann", "the disk is full")
    assert runs.request_stop(run, "ben", "me too")
    found = runs.get(run)
    assert (found.stop_requested_by, found.stop_reason) == ("ann", "the disk is full")
    assert found.stop == "ann asked it to stop: the disk is full"
    assert found.stop_requested_at is not None
    runs.finish(run, "terminated")
    assert not runs.request_stop(run, "ben")
    again = runs.begin(run)
    assert (again.stop, again.stop_requested_by, again.stop_requested_at) == (None, None, None)
    assert runs.request_stop(run)
    assert runs.get(run).stop == "it was asked to stop"
    with pytest.raises(ConfigError, match="no run nope"):
        runs.request_stop("nope")


def test_a_run_that_nobody_works_on_ends_at_once(runs: Runs) -> None:
    ledger = planned(runs, 1)
    run = ledger.run_id
    runs.begin(run)
    for state in WORKING:
        runs.move(run, JOB, state)
    with Keeper(ledger):
        assert runs.job(run, JOB).seen_at is not None
        assert not runs.end_idle(run, "why")
    # As when its process was killed: nobody says anything any more.
    with runs.database.write() as connection:
        long_ago = runs.database.now() - SILENT - timedelta(seconds=1)
        connection.execute(update(JOBS).values(seen_at=long_ago))
    assert runs.end_idle(run, "ann asked it to stop")
    ended = runs.get(run)
    assert (ended.state, ended.error) == ("terminated", "ann asked it to stop")
    assert ended.ended_at is not None
    assert runs.job(run, JOB).state == "terminated"
    assert not runs.end_idle(run, "again")
    # Who comes back to it cannot make it anything else.
    assert runs.finish(run, "failed", "x").state == "terminated"


def test_an_ended_run_is_asked_while_somebody_works_on_it_by_hand(runs: Runs) -> None:
    ledger = planned(runs, 1)
    run = ledger.run_id
    runs.begin(run)
    for state in (*WORKING, "copied", "succeeded"):
        runs.move(run, JOB, state)
    runs.finish(run, "succeeded")
    ledger.seen()
    assert not runs.request_stop(run, "ann"), "nobody does"
    runs.move(run, JOB, "purging")
    assert runs.request_stop(run, "ann")
    assert not runs.end_idle(run, "why")
    assert runs.request_stop(run, "ben", "a later purge")
    assert runs.get(run).stop_requested_by == "ben"
    assert runs.get(run).state == "succeeded"

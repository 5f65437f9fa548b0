"""Runs, jobs and table leases."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import update

from dsp_airflow.engine.errors import ConfigError, Refused, Transient
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.leases import table_lease
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.tables import LEASES
from tests.state import processes
from tests.state.samples import JOB, check_all, checked, copied, planned, purged, take


def test_start_and_find(runs: Runs) -> None:
    run = runs.start("shop", "f.yaml", {"b": 1, "a": [2**70, "ü"]}, "dd", {"cutoff": "x"})
    assert re.fullmatch(r"\d{8}T\d{6}-[a-z2-7]{6}", run.id)
    assert (run.state, run.attempt, run.started_at) == ("planned", 1, None)
    assert runs.get(run.id) == run
    assert run.definition == {"a": [2**70, "ü"], "b": 1}
    with pytest.raises(ConfigError, match="no run nope"):
        runs.get("nope")


def test_external_key_is_one_run(runs: Runs, state_url: str) -> None:
    ids = processes.together(8, processes.start_run, state_url)
    assert len(set(ids)) == 1
    found = runs.find("dag/run")
    assert found is not None
    assert found.id == ids[0]
    assert runs.latest_unfinished("shop") is None, "it is Airflow's to resume"


def test_latest(runs: Runs) -> None:
    assert runs.latest("shop") is None
    first = runs.start("shop", "f", {}, "1")
    time.sleep(0.01)
    second = runs.start("shop", "f", {}, "2")
    runs.finish(first.id, "failed", "no")
    assert [r.id for r in runs.recent("shop")] == [second.id, first.id]
    assert runs.latest_unfinished("shop") == second
    runs.finish(second.id, "succeeded")
    assert runs.latest_unfinished("shop") is None


def test_begin_and_finish(runs: Runs) -> None:
    run = runs.start("shop", "f", {}, "1")
    begun = runs.begin(run.id, {"cutoff": "2026"})
    assert (begun.state, begun.variables) == ("running", {"cutoff": "2026"})
    assert runs.begin(run.id, {"cutoff": "2027"}) == begun
    failed = runs.finish(run.id, "failed", "x" * 9000)
    assert failed.error is not None
    assert len(failed.error) < 9000
    assert runs.finish(run.id, "succeeded") == failed
    again = runs.begin(run.id)
    assert (again.attempt, again.error, again.ended_at) == (2, None, None)
    assert again.started_at == begun.started_at


def test_job_moves(runs: Runs) -> None:
    ledger = planned(runs, 1)
    run = ledger.run_id
    with pytest.raises(Refused, match="is waiting; it cannot become purging"):
        runs.move(run, JOB, "purging")
    for state in ("planned", "copying", "copying", "copied", "checking", "checked", "purging"):
        assert runs.move(run, JOB, state).state == state
    failed = runs.move(run, JOB, "failed", "oops")
    assert failed.ended_at is not None
    again = runs.move(run, JOB, "purging")
    assert (again.error, again.ended_at, again.started_at) == (None, None, failed.started_at)
    assert runs.move(run, JOB, "succeeded").ended_at is not None
    with pytest.raises(Refused):
        runs.move(run, JOB, "waiting")


def test_add_job_keeps_the_first(runs: Runs) -> None:
    run = runs.start("shop", "f", {}, "1")
    add = partial(
        runs.add_job, run.id, source_table="t", source_connection="c", source_identity="i"
    )
    first = add("b", 1)
    assert add("b", 7, purge_mode="system") == first
    add("a", 2)
    assert [job.name for job in runs.jobs(run.id)] == ["b", "a"]
    with pytest.raises(ConfigError, match="no job c"):
        runs.job(run.id, "c")


def test_summary_counts(runs: Runs) -> None:
    ledger = planned(runs, 6)
    for _ in range(4):
        ledger.copied(take(ledger, "copy"), copied(ignored=3))
    ledger.release(take(ledger, "copy"), "broken")
    ledger.checked(take(ledger, "check"), checked(different=2))
    check_all(ledger)
    claim = take(ledger, "purge")
    ledger.purged(claim, purged(ledger, claim, kept=1))
    runs.add_job(
        ledger.run_id, "empty", 1, source_table="t", source_connection="c", source_identity="i"
    )
    runs.move(ledger.run_id, JOB, "failed", "broken")
    summary = runs.summary(ledger.run_id)
    job, empty = summary.jobs
    assert (job.name, job.state, job.error) == (JOB, "failed", "broken")
    assert (job.rows_total, job.rows_read, job.rows_written) == (60, 40, 28)
    assert (job.rows_failed, job.rows_checked, job.rows_different) == (10, 40, 2)
    assert (job.rows_purged, job.rows_kept, job.bytes) == (9, 1, 4 * 3 * 2**40)
    assert (job.batches, job.batches_copied, job.batches_checked, job.batches_purged) == (
        6,
        4,
        4,
        1,
    )
    others = {"name", "state", "error", "losses", "deletion_done", "swapped_at", "replaces"}
    assert {type(getattr(job, name)) for name in job.__slots__ if name not in others} == {int}
    assert (empty.rows_total, empty.batches, empty.rows_purged) == (0, 0, 0)
    states = [batch.state for batch in runs.batches(ledger.run_id, JOB)]
    assert states == ["different", "kept", "checked", "checked", "waiting", "waiting"]


def test_table_lease_names_its_holder(state: StateDatabase) -> None:
    other = table_lease(state, "db/t", "run-2")
    with table_lease(state, "db/t", "run-1") as lease:
        with pytest.raises(Transient, match="db/t is being worked on by run-1"):
            other.__enter__()
        with table_lease(state, "db/t", "run-1"), table_lease(state, "db/u", "run-2"):
            pass
        lease.check()
        with pytest.raises(Transient), table_lease(state, "db/t", "run-2"):
            pass
    with table_lease(state, "db/t", "run-2"):
        pass


def test_table_lease_is_renewed(state: StateDatabase) -> None:
    with table_lease(state, "t", "a", ttl=timedelta(seconds=0.6)) as lease:
        time.sleep(1.2)
        with pytest.raises(Transient), table_lease(state, "t", "b"):
            pass
        lease.check()


def test_lost_table_lease(state: StateDatabase) -> None:
    with table_lease(state, "t", "a") as lost:
        with state.write() as connection:
            past = state.now() - timedelta(seconds=1)
            connection.execute(update(LEASES).values(until=past))
        with table_lease(state, "t", "b"), pytest.raises(Transient, match="lost to somebody"):
            lost.check()
    with table_lease(state, "t", "a"):
        pass


def test_table_lease_of_a_killed_process(state: StateDatabase, state_url: str) -> None:
    _, process = processes.killed(processes.hold_table, state_url, "t", None)
    process.join()
    with table_lease(state, "t", "next"):
        pass
    _, process = processes.killed(processes.hold_table, state_url, "t", "run-1")
    process.join()
    with table_lease(state, "t", "run-1"):
        pass

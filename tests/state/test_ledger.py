"""Claims, leases, fencing, and what is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from dsp_airflow.engine.errors import ConfigError, Refused, Transient
from dsp_airflow.engine.ports import Ledger
from dsp_airflow.state import receipts
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.keeper import Keeper
from dsp_airflow.state.ledger import MAX_DIFFERENCES, TTL, SqlLedger
from dsp_airflow.state.owner import owner_name, surely_dead
from dsp_airflow.state.runs import Runs
from tests.state import processes
from tests.state.samples import (
    BIG,
    JOB,
    batches,
    check_all,
    checked,
    copied,
    copy_all,
    plan,
    planned,
    purge_all,
    purged,
    take,
)


def another(ledger: SqlLedger, ttl: timedelta = TTL) -> SqlLedger:
    return SqlLedger(ledger.database, ledger.run_id, ledger.job, ttl=ttl)


def test_it_is_a_ledger(runs: Runs) -> None:
    ledger: Ledger = planned(runs, 1)
    assert ledger.plan() == plan()
    assert ledger.job == JOB


def test_unknown_job(runs: Runs) -> None:
    ledger = planned(runs, 1)
    with pytest.raises(ConfigError, match="has no job other"):
        SqlLedger(ledger.database, ledger.run_id, "other")


def test_large_sums_and_odd_keys_survive(runs: Runs) -> None:
    ledger = planned(runs, 1, percent=None)
    claim = take(ledger, "copy")
    assert claim.batch == batches(1)[0]
    ledger.copied(claim, copied())
    again = take(ledger, "purge")
    assert again.copied == copied()
    assert again.copied.digest is not None
    assert again.copied.digest.sum == BIG


def test_lowest_first_and_only(runs: Runs) -> None:
    ledger = planned(runs, 40)
    assert take(ledger, "copy").batch.number == 1
    assert take(ledger, "copy", [7, 3, 30]).batch.number == 3
    assert take(ledger, "copy", range(20, 30)).batch.number == 20
    assert take(ledger, "copy", [3, 7, 30]).batch.number == 7
    assert ledger.claim("copy", [1, 3]) is None
    assert ledger.claim("copy", []) is None
    assert ledger.waiting("copy", [1, 3, 5]) == 3
    assert ledger.waiting("copy") == 40
    assert ledger.waiting("copy", []) == 0


def test_very_many_numbers(runs: Runs) -> None:
    ledger = planned(runs, 3)
    assert take(ledger, "copy", range(2, 200_000, 2)).batch.number == 2


def test_phases_follow_each_other(runs: Runs) -> None:
    ledger = planned(runs, 3)
    assert ledger.claim("check") is None
    assert ledger.claim("purge") is None
    copy_all(ledger)
    assert ledger.waiting("copy") == 0
    assert ledger.claim("purge") is None
    ledger.checked(take(ledger, "check"), checked())
    ledger.checked(take(ledger, "check"), checked(different=1))
    assert ledger.waiting("check") == 1
    assert ledger.waiting("purge") == 1
    claim = take(ledger, "purge")
    assert claim.batch.number == 1
    assert ledger.claim("purge") is None
    ledger.purged(claim, purged(ledger, claim))
    assert ledger.waiting("purge") == 0


def test_eight_processes_share_the_batches(runs: Runs, state_url: str) -> None:
    ledger = planned(runs, 200)
    shares = processes.together(8, processes.copy_claims, state_url, ledger.run_id, JOB)
    taken = [number for share in shares for number, _ in share]
    assert sorted(taken) == list(range(1, 201))
    assert {token for share in shares for _, token in share} == {1}
    assert runs.summary(ledger.run_id).jobs[0].rows_written == 2000


def test_a_killed_holder_is_followed_at_once(runs: Runs, state_url: str) -> None:
    ledger = planned(runs, 2)
    arguments = (state_url, ledger.run_id, JOB)
    (number, token), process = processes.killed(processes.hold_batch, *arguments)
    deadline = time.monotonic() + 5
    claim = take(ledger, "copy")
    while claim.batch.number != number and time.monotonic() < deadline:
        ledger.release(claim)
        claim = take(ledger, "copy")
    process.join()
    assert (claim.batch.number, claim.token) == (number, token + 1)


def test_only_the_dead_of_this_place_are_dead() -> None:
    own = owner_name("x")
    assert not surely_dead(own)
    host, boot, namespace, pid, start, suffix = own.split(":")
    gone = ":".join((host, boot, namespace, pid, str(int(start) + 1), suffix))
    assert surely_dead(gone)
    assert not surely_dead(gone.replace(boot, "another-boot"))
    assert not surely_dead(gone.replace(host, "elsewhere", 1))
    assert not surely_dead(":".join((host, boot, "1", pid, "1", suffix)))
    assert not surely_dead("somebody")


def test_who_was_taken_over_records_nothing(runs: Runs) -> None:
    first = planned(runs, 1, percent=None)
    slow = another(first, ttl=timedelta(0))
    stale = take(slow, "copy")
    time.sleep(0.01)
    fresh = take(first, "copy")
    assert (stale.token, fresh.token) == (1, 2)
    before = runs.batches(first.run_id, JOB)
    acts: list[Callable[[], None]] = [
        lambda: slow.copied(stale, copied()),
        lambda: slow.checked(stale, checked()),
        lambda: slow.purging(stale, "{}"),
        lambda: slow.purged(stale, purged(slow, stale)),
        lambda: slow.keep(stale),
        lambda: slow.release(stale, "oops"),
    ]
    for act in acts:
        with pytest.raises(Transient, match="batch 1 of job flights was taken over"):
            act()
    assert runs.batches(first.run_id, JOB) == before
    assert receipts.head(first.database).seq == 0
    first.copied(fresh, copied())
    with pytest.raises(Transient, match="taken over"):
        first.copied(fresh, copied())


def test_an_expired_lease_still_counts_until_somebody_takes_it(runs: Runs) -> None:
    ledger = planned(runs, 1)
    slow = another(ledger, ttl=timedelta(0))
    slow.copied(take(slow, "copy"), copied())
    assert ledger.waiting("copy") == 0


def test_keeper_renews(runs: Runs) -> None:
    first = planned(runs, 1)
    short = another(first, ttl=timedelta(seconds=0.6))
    with Keeper(short):
        claim = take(short, "copy")
        time.sleep(1.5)
        assert first.claim("copy") is None
        short.copied(claim, copied())


def test_keep_all_tells_what_was_lost(runs: Runs) -> None:
    first = planned(runs, 2)
    slow = another(first, ttl=timedelta(0))
    take(slow, "copy"), take(slow, "copy", [2])
    time.sleep(0.01)
    take(first, "copy", [2])
    assert slow.keep_all() == (2,)
    assert slow.keep_all() == ()


def test_release_keeps_the_error_until_success(runs: Runs) -> None:
    ledger = planned(runs, 2)
    ledger.release(take(ledger, "copy"), "bad\x00 thing")
    status = runs.batches(ledger.run_id, JOB)[0]
    assert (status.error, status.holder, status.attempts) == (
        "bad\N{REPLACEMENT CHARACTER} thing",
        None,
        1,
    )
    assert runs.summary(ledger.run_id).jobs[0].rows_failed == 10
    copy_all(ledger)
    assert runs.batches(ledger.run_id, JOB)[0].error is None
    assert runs.summary(ledger.run_id).jobs[0].rows_failed == 0


def test_intent_survives_a_crash(runs: Runs) -> None:
    ledger = planned(runs, 1, percent=None)
    copy_all(ledger)
    slow = another(ledger, ttl=timedelta(0))
    slow.purging(take(slow, "purge"), '{"token":"17"}')
    time.sleep(0.01)
    claim = take(ledger, "purge")
    assert claim.intent == '{"token":"17"}'
    with pytest.raises(Refused, match="outcome is not recorded"):
        runs.new_attempt(ledger.run_id, JOB)
    ledger.purged(claim, purged(ledger, claim))
    assert runs.new_attempt(ledger.run_id, JOB) == 2


def test_reported_differences_are_capped_and_counted(runs: Runs) -> None:
    ledger = planned(runs, 1)
    copy_all(ledger)
    ledger.checked(take(ledger, "check"), checked(different=1500))
    assert runs.summary(ledger.run_id).jobs[0].rows_different == 1500
    found = runs.differences(ledger.run_id, JOB, 1)
    assert len(found) == MAX_DIFFERENCES
    assert [d.difference for d in found] == list(checked(1500).differences[:MAX_DIFFERENCES])


def test_a_plan_is_replaced_until_something_was_copied(runs: Runs) -> None:
    first = planned(runs, 5)
    held = take(first, "copy")
    second = another(first)
    second.planned(plan(), batches(2))
    assert second.run == f"{first.run_id}.2"
    assert second.waiting("copy") == 2
    with pytest.raises(Transient, match="taken over"):
        first.copied(held, copied())
    with pytest.raises(Transient, match="planned anew"):
        first.claim("copy")
    copy_all(second)
    with pytest.raises(Refused, match="copied 2 batches"):
        second.planned(plan(), batches(3))


def test_new_attempt_keeps_what_was_done(runs: Runs) -> None:
    old = planned(runs, 3, percent=None)
    for _ in range(2):
        old.copied(take(old, "copy"), copied())
    claim = take(old, "purge")
    old.purged(claim, purged(old, claim, kept=4))
    held = take(old, "copy")
    assert runs.new_attempt(old.run_id, JOB) == 2
    with pytest.raises(Transient):
        old.copied(held, copied())
    new = another(old)
    assert new.plan() is None
    new.planned(plan(), batches(2))
    [job] = runs.summary(old.run_id).jobs
    assert (job.batches, job.rows_total, job.rows_read) == (2, 20, 0)
    assert (job.rows_purged, job.rows_kept) == (6, 0)
    copy_all(new)
    purge_all(new)
    assert receipts.verify(new.database) == []
    assert runs.summary(old.run_id).jobs[0].rows_purged == 26


def test_stop(runs: Runs) -> None:
    ledger = planned(runs, 1)
    assert not ledger.stop_requested()
    assert runs.request_stop(ledger.run_id)
    assert ledger.stop_requested()
    runs.finish(ledger.run_id, "terminated")
    assert not runs.request_stop(ledger.run_id)
    runs.begin(ledger.run_id)
    assert not ledger.stop_requested()


def test_repeated_purge_takes_only_batches_with_kept_rows(runs: Runs) -> None:
    ledger = planned(runs, 3)
    copy_all(ledger)
    check_all(ledger)
    for kept in (0, 3, 4):
        claim = take(ledger, "purge")
        ledger.purged(claim, purged(ledger, claim, kept=kept))
    assert runs.reopen(ledger.run_id, JOB, "purge", [1, 2]) == (2,)
    claim = take(ledger, "purge")
    assert claim.batch.number == 2
    ledger.purged(claim, purged(ledger, claim, kept=1, deleted=2))
    assert ledger.claim("purge") is None
    [job] = runs.summary(ledger.run_id).jobs
    assert (job.rows_purged, job.rows_kept) == (10 + 9 + 6, 1 + 4)
    assert len(runs.differences(ledger.run_id, JOB, 2)) == 1
    assert receipts.verify(ledger.database) == []


def test_repeated_check_and_new_sample(runs: Runs, state: StateDatabase) -> None:
    ledger = planned(runs, 3)
    copy_all(ledger)
    for different in (0, 2, 0):
        ledger.checked(take(ledger, "check"), checked(different))
    assert runs.reopen(ledger.run_id, JOB, "check", [2, 3]) == (2, 3)
    assert runs.differences(ledger.run_id) == []
    runs.resample(ledger.run_id, JOB, [3])
    assert [take(ledger, "check").batch.sampled for _ in range(2)] == [False, True]
    assert ledger.waiting("purge") == 1

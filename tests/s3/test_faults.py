"""What the network, other workers and sudden death do to an S3 job."""

from __future__ import annotations

import errno
import io
import multiprocessing
import random
import time
from datetime import timedelta
from typing import Any, NoReturn
from urllib.parse import unquote

import pytest

from dsp_airflow.engine.archive.folder import RunFolder
from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.ports import ReadsArrow
from dsp_airflow.state.ledger import SqlLedger
from tests.s3.harness import Archives
from tests.s3.storm import Storm
from tests.s3.test_path import filled, ids
from tests.s3.work import phase, where_of
from tests.servers.s3 import client_of
from tests.share import share

processes = multiprocessing.get_context("spawn")


def through(jobs: Archives, storm: Storm, **changed: Any) -> None:
    """The jobs' bucket is reached through the storm from now on."""
    assert jobs.place is not None
    server = jobs.place.server
    jobs.client = client_of(storm.endpoint, server.key, server.secret, **changed)


def persistent(jobs: Archives, tries: int = 40) -> int:
    """Runs until it succeeds; returns how often it had to be tried."""
    for attempt in range(1, tries + 1):
        try:
            jobs.run()
        except Transient as error:
            print(error)  # noqa: T201
            continue
        return attempt
    raise AssertionError("it never came through")


def complete(jobs: Archives, rows: int) -> None:
    """Everything is archived once, proved and deleted; nothing else lies there."""
    assert jobs.place is not None
    job = jobs.only()
    assert (job.rows_written, job.rows_purged, job.rows_kept) == (rows, rows, 0)
    assert ids(jobs) == []
    told = jobs.manifest()
    assert told["rows"] == rows
    assert sorted(o["key"] for b in told["batches"] for o in b["objects"]) == jobs.batches()
    assert jobs.place.uploads() == []


def test_a_storm_of_errors(one: Archives) -> None:
    assert one.place is not None
    chance = random.Random(3)
    fates = [*["ok"] * 12, "503", "500", "cut", "lost", "half"]

    def fate(method: str, path: str, number: int) -> str:
        return chance.choice(fates)

    filled(one)
    with Storm(one.place.server.port, fate) as storm:
        through(one, storm, attempts=5)
        persistent(one)
        assert {f for *_, f in storm.requests} == set(fates)
    complete(one, 100)


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_answer_that_is_lost(one: Archives, method: str) -> None:
    """What was done is recognised as our own, and not done twice."""
    assert one.place is not None
    seen: set[str] = set()

    def fate(verb: str, path: str, number: int) -> str:
        ours = verb == method and "batch=" in unquote(path) and "uploads" not in path
        if not ours or "partNumber" in path or path in seen:
            return "ok"
        seen.add(path)
        return "lost"

    size = 3_000_000 if method == "POST" else 10
    one.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v bytea)",
        "INSERT INTO t SELECT n, (SELECT string_agg(decode(md5(n || '-' || i), 'hex'), '') "
        f"FROM generate_series(1, {size} / 16 + 1) i) FROM generate_series(1, 3) n",
    )
    one.write(one.job(check={"percent": 100}, purge="system"))
    with Storm(one.place.server.port, fate) as storm:
        through(one, storm)
        one.run()
    assert seen
    complete(one, 3)


def test_an_upload_that_is_cut_in_the_middle(one: Archives) -> None:
    assert one.place is not None

    def fate(verb: str, path: str, number: int) -> str:
        return "cut" if "partNumber=2" in path else "ok"

    one.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v bytea)",
        "INSERT INTO t SELECT n, (SELECT string_agg(decode(md5(n || '-' || i), 'hex'), '') "
        "FROM generate_series(1, 250000) i) FROM generate_series(1, 4) n",
    )
    one.write(one.job(check={"percent": 100}, purge="system"))
    with Storm(one.place.server.port, fate) as storm:
        through(one, storm, attempts=2)
        with pytest.raises(Transient):
            one.run()
        assert one.batches() == []
        storm.fate = lambda *_: "ok"
        persistent(one, 2)
    complete(one, 4)


def test_no_answer_under_the_lock(one: Archives) -> None:
    """The bucket is gone while the rows are locked: they stay, and the retry ends it."""
    assert one.place is not None
    run = filled(one).open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    gets = 0

    def fate(verb: str, path: str, number: int) -> str:
        nonlocal gets
        gets += 1
        return "ok" if gets < 4 else "cut"

    with Storm(one.place.server.port, fate) as storm:
        through(one, storm, attempts=1)
        run = one.open()
        with pytest.raises(Transient):
            run.purge("copy")
        assert len(ids(one)) in (70, 100)
        storm.fate = lambda *_: "ok"
        one.open().purge("copy")
    assert ids(one) == []


def test_who_lost_the_lease_overwrites_nothing(one: Archives) -> None:
    """A worker that slept through its lease comes back with older rows."""
    assert one.place is not None
    run = filled(one, purge="none", batch_size=1000).open()
    plan = run.plan("copy")
    path = run.path(run.task.jobs[0], "copy")
    ledger = SqlLedger(one.state, run.run.id, "copy", "sleeper", ttl=timedelta(seconds=-1))
    store, folder = path.work(plan, ledger)
    assert isinstance(folder, RunFolder)
    claim = ledger.claim("copy")
    assert claim is not None
    with store.session() as source, source.snapshot():
        assert isinstance(source, ReadsArrow)
        batches = source.arrow(
            plan.source, claim.batch.within, folder.forms, exact=False, max_row_size=2**26
        )
        rows = list(batches)
    one.source.execute("UPDATE t SET name = 'newer'")
    run.copy("copy")
    before = one.objects()
    with pytest.raises(Transient, match="taken over"):
        folder.put(claim, rows, lambda: ledger.keep(claim))
    assert one.objects() == before
    run.check("copy")


def killed(jobs: Archives, name: str, chance: random.Random, kills: int) -> None:
    """Works at a phase until it is complete, killing it at random moments."""
    longest = 6.0
    give_up = time.monotonic() + 300
    while True:
        assert time.monotonic() < give_up, f"{name} does not come to an end"
        process = processes.Process(target=phase, args=(where_of(jobs), name))
        process.start()
        process.join(chance.uniform(1.0, longest) if kills else 120)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills -= 1
        elif process.exitcode == 0:
            return


@pytest.mark.share
@pytest.mark.timeout(3600)
def test_killed_at_random_moments(one: Archives) -> None:
    rows, kills, chance = 4_000, share(30, 2), random.Random(5)
    filled(one, rows=rows, batch_size=100, workers=2)
    one.source.execute(
        "CREATE TABLE deleted (id bigint PRIMARY KEY)",
        "CREATE FUNCTION log_deleted() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO deleted VALUES (OLD.id); RETURN OLD; END'",
        "CREATE TRIGGER log_deleted BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION log_deleted()",
    )
    one.write(
        one.job(
            check={"percent": 100},
            purge="system",
            batch_size=100,
            workers=2,
            accept_triggers=["log_deleted"],
        )
    )
    killed(one, "plan", chance, 0)
    for name in ("copy", "check", "purge"):
        killed(one, name, chance, kills)
    complete(one, rows)
    assert one.source.value("SELECT count(*) FROM deleted") == rows


class Full(io.BytesIO):
    """Takes nothing."""

    def write(self, _data: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk(one: Archives, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no room to read an object back: a retry may help, nothing is deleted."""
    run = filled(one).open()
    run.plan("copy")
    run.copy("copy")
    monkeypatch.setattr("tempfile.NamedTemporaryFile", lambda **_: Full())
    with pytest.raises(Transient, match="make room"):
        run.check("copy")
    monkeypatch.undo()
    run.check("copy")
    run.purge("copy")
    assert ids(one) == []

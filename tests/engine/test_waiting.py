"""Locks that others hold, statements that take too long, and who we say we are."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.model import Claim
from dsp_airflow.engine.options import NAME_BYTES, SessionOptions, session_name
from dsp_airflow.engine.stores import postgres as postgres_store
from dsp_airflow.engine.stores.postgres import PostgresSession, login
from dsp_airflow.state.ledger import SqlLedger
from tests.engine.scenes import Db, done, small
from tests.servers import Database, PostgresServer, fresh_database

LOCKED = r"public\.t: .*a lock was not to be had within 1s \(timeouts\.lock\).*raise timeouts\.lock"
SLOW = r"public\.t: .*a statement may take 1s \(timeouts\.statement\).*raise timeouts\.statement"


@contextmanager
def holding(place: Database, statement: str) -> Iterator[None]:
    """Somebody's open transaction."""
    with place.connect() as connection:
        connection.execute("BEGIN")
        connection.execute(statement.encode())
        yield


def test_a_locked_source_is_given_up_in_time(bench: Db) -> None:
    run = small(bench, timeouts={"lock": "1s"})
    with (
        holding(bench.source, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"),
        pytest.raises(Transient, match="source: " + LOCKED),
    ):
        run.copy("copy")
    assert done(run).runs.summary(run.run.id).jobs[0].rows_checked == 100


def test_a_locked_target_is_given_up_in_time(bench: Db) -> None:
    run = small(bench, timeouts={"lock": "1s"})
    bench.target.execute("CREATE TABLE t (id bigint PRIMARY KEY, flag boolean, v text)")
    with (
        holding(bench.target, "LOCK TABLE t IN SHARE MODE"),
        pytest.raises(Transient, match="target: " + LOCKED),
    ):
        run.copy("copy")
    run.copy("copy")
    assert bench.target.value("SELECT count(*) FROM t") == 100


def test_a_locked_row_is_not_purged_and_not_waited_for(bench: Db) -> None:
    run = done(small(bench, timeouts={"lock": "1s"}))
    with (
        holding(bench.source, "SELECT FROM t WHERE id = 7 FOR UPDATE"),
        pytest.raises(Transient, match="source: " + LOCKED),
    ):
        run.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 100
    assert run.purge("copy").rows_purged == 100


def test_a_statement_of_the_source_that_takes_too_long(bench: Db) -> None:
    run = small(bench, timeouts={"lock": "1m", "statement": "1s"})
    with (
        holding(bench.source, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"),
        pytest.raises(Transient, match="source: " + SLOW),
    ):
        run.copy("copy")
    assert run.copy("copy").rows_written == 100


def test_a_statement_of_the_target_that_takes_too_long(bench: Db) -> None:
    """It ends in the middle of the rows that are being sent; the next try sends them all."""
    run = small(bench, timeouts={"statement": "1s"})
    bench.target.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, flag boolean, v text)",
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(0.1); RETURN NEW; END'",
        "CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    with pytest.raises(Transient, match="target: " + SLOW):
        run.copy("copy")
    assert bench.target.value("SELECT count(*) FROM t") == 0
    bench.target.execute("DROP TRIGGER slow ON t")
    assert run.copy("copy").rows_written == 100


def test_planning_minds_the_timeout_too(bench: Db) -> None:
    small(bench, timeouts={"statement": "1s"})
    with holding(bench.source, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"):
        again = bench.open(new=True)
        with pytest.raises(Transient, match="source: " + SLOW):
            again.plan("copy")


def test_a_statement_that_somebody_ended(bench: Db) -> None:
    """Without a timeout there is none to raise."""
    run = small(bench)
    with (
        holding(bench.source, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"),
        ThreadPoolExecutor() as pool,
    ):
        copying = pool.submit(run.copy, "copy")
        ended: list[tuple[object, ...]] = []
        while not ended and not copying.done():
            ended = bench.source.rows(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'dsp:task:copy:copy' AND wait_event_type = 'Lock' "
                "AND datname = current_database()"
            )
        with pytest.raises(Transient, match="user request; somebody on the server ended it"):
            copying.result()


def test_who_waits_for_other_runs_waits_longer_than_a_statement_may_take(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queueing behind a batch of another run is no statement at work."""
    monkeypatch.setattr(postgres_store, "PATIENCE", 3)
    run = small(bench, timeouts={"lock": "1s", "statement": "1s"})
    plan = run.plan("copy")
    with (
        bench.store("target").session() as other,
        other.proving(plan.target),
        pytest.raises(Transient, match="for 3 seconds"),
    ):
        run.copy("copy")


def test_what_was_proved_in_a_session_that_is_gone_is_not_deleted(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the session went its lock: the target may have been replaced before the intent."""
    run = done(small(bench))
    plain = SqlLedger.purging

    def cut(self: SqlLedger, claim: Claim, intent: str) -> None:
        bench.target.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'dsp:%' AND datname = current_database()"
        )
        plain(self, claim, intent)

    with monkeypatch.context() as patch:
        patch.setattr(SqlLedger, "purging", cut)
        with pytest.raises(Transient):
            run.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 100
    run.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 0


def test_settings_of_the_role_do_not_hold(bench: Db) -> None:
    """The job says how long it waits; a role's own timeouts are for people and applications."""
    for place in (bench.source, bench.target):
        place.execute(
            f"ALTER DATABASE {place.name} SET statement_timeout = '1s'",
            f"ALTER DATABASE {place.name} SET lock_timeout = '1ms'",
        )
    store = bench.store("source").having(SessionOptions())
    with store.session() as session:
        assert isinstance(session, PostgresSession)
        shown = session.connection.execute(
            "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
        ).fetchone()
    assert shown == ("0", "30s")


# Names


class Looking:
    """Notes at every batch's end which sessions the servers show."""

    def __init__(self, *places: Database) -> None:
        self.places = places
        self.seen: set[str] = set()

    def on(self, _event: object) -> None:
        for place in self.places:
            found = place.rows(
                "SELECT application_name FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert found
            # The tests' own sessions have no name.
            self.seen |= {name for (name,) in found if name}


@pytest.mark.parametrize("step", ["copy", "check", "purge"])
def test_every_session_tells_task_job_and_step(bench: Db, step: str) -> None:
    run = small(bench, timeouts={"lock": "20s"}, batch_size=50, workers=2)
    if step != "copy":
        run.copy("copy")
    if step == "purge":
        run.check("copy")
    from dsp_airflow.engine.events import BatchDone

    looking = Looking(bench.source, bench.target)

    class AtWork:
        def on(self, event: object) -> None:
            if isinstance(event, BatchDone):
                looking.on(event)

    run.watch = AtWork()
    getattr(run, step)("copy")
    assert looking.seen == {f"dsp:task:copy:{step}"}


def test_a_session_for_planning_tells_so(bench: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = Looking(bench.source, bench.target)
    split = PostgresSession.split

    def look(self: PostgresSession, *args: object, **more: object) -> object:
        looking.on(None)
        return split(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(PostgresSession, "split", look)
    small(bench)
    assert looking.seen == {"dsp:task:copy:plan"}


@pytest.mark.parametrize(
    ("task", "job"),
    [
        ("t" * 200, "job"),
        ("task", "j" * 200),
        ("t" * 200, "j" * 200),
        ("flights", "copy"),
    ],
)
def test_long_names_leave_room_for_the_step(pg: PostgresServer, task: str, job: str) -> None:
    name = session_name(task, job, "estimate")
    with fresh_database(pg) as database:
        info = {"conninfo": database.uri}
        with login.connect(info, SessionOptions(name), "here") as connection:
            shown = connection.execute("SHOW application_name").fetchone()
    assert shown == (name,)
    head, ours, its, step = name.split(":")
    assert (head, step) == ("dsp", "estimate")
    assert task.startswith(ours)
    assert job.startswith(its)
    assert min(len(ours), len(its)) >= min(len(task), len(job), 20)


def test_names_are_cut_between_characters() -> None:
    for length in range(40):
        name = session_name("x" * length + "ü€😀" * 20, "ж" * 60, "check")
        assert len(name.encode()) <= NAME_BYTES
        assert "\N{REPLACEMENT CHARACTER}" not in name
        assert name.endswith(":check")

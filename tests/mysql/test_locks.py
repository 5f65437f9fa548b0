"""Writers share a table, a proof has it alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import MySQLdb
import pytest

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.mysql import locks
from dsp_airflow.engine.stores.mysql.query import execute, one, rows
from tests.mysql.conftest import Connect
from tests.servers import MySQLFamilyServer


def table(name: str) -> Projection:
    return Projection(name, name, (), ())


def soon(done: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not done() and time.monotonic() < until:
        time.sleep(0.02)
    return done()


def test_writers_share_and_a_proof_waits_for_them(connect: Connect) -> None:
    one_writer, other_writer, prover = connect(), connect(), connect()
    events: list[str] = []

    def prove() -> None:
        with locks.proving(prover, table("t"), "shop"):
            events.append("proved")

    with ThreadPoolExecutor(1) as pool:
        with locks.writing(one_writer, table("`t`"), "shop"):
            with locks.writing(other_writer, table("t"), "shop"):
                waiting = pool.submit(prove)
                time.sleep(1.5)
                assert not events
            time.sleep(0.5)
            assert not events
            events.append("written")
        waiting.result(timeout=10)
    assert events == ["written", "proved"]
    # Nothing is left behind.
    with locks.proving(one_writer, table("t"), "shop"):
        pass


def test_a_writer_waits_for_a_proof_of_the_same_table_only(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    prover, writer = connect(), connect()
    database = one(prover, "SELECT DATABASE()")[0]
    monkeypatch.setattr(locks, "PATIENCE", 1)
    with locks.proving(prover, table(f"`{database}`.`t`"), "shop"):
        with locks.writing(writer, table("other"), "shop"):
            pass
        with (
            pytest.raises(Transient, match="for 1 seconds; retry when they are through"),
            locks.writing(writer, table("t"), "shop"),
        ):
            pass
        # Who holds it is not kept from it.
        with locks.writing(prover, table("t"), "shop"), locks.proving(prover, table("t"), "shop"):
            pass
        with pytest.raises(Transient), locks.proving(writer, table("t"), "shop"):
            pass
    with locks.writing(writer, table("t"), "shop"):
        pass


def test_proofs_and_many_writers_take_turns(connect: Connect) -> None:
    inside: list[str] = []
    wrong: list[list[str]] = []
    guard = threading.Lock()

    def work(kind: str) -> None:
        connection = connect()
        for _ in range(4):
            hold = locks.proving if kind == "p" else locks.writing
            with hold(connection, table("t"), "shop"):
                with guard:
                    inside.append(kind)
                    if "p" in inside and len(inside) > 1:
                        wrong.append(list(inside))
                time.sleep(0.01)
                with guard:
                    inside.remove(kind)

    with ThreadPoolExecutor(locks.SLOTS + 6) as pool:
        for done in [pool.submit(work, kind) for kind in "pppp" + "w" * (locks.SLOTS + 2)]:
            done.result(timeout=120)
    assert not wrong


def test_more_writers_than_slots(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0)
    with ExitStack() as stack:
        for _ in range(locks.SLOTS):
            stack.enter_context(locks.writing(connect(), table("t"), "shop"))
        with pytest.raises(Transient), locks.writing(connect(), table("t"), "shop"):
            pass


def test_the_end_of_a_session_gives_its_locks_back(connect: Connect) -> None:
    gone, other = connect(), connect()
    stack = ExitStack()
    stack.enter_context(locks.proving(gone, table("t"), "shop"))
    gone.close()
    stack.close()
    with locks.writing(other, table("t"), "shop"):
        pass


def test_one_server_knows_itself(
    connect: Connect, mariadb: MySQLFamilyServer, mysql: MySQLFamilyServer
) -> None:
    here = connect()
    assert locks.same_database(here, connect())
    others = {
        locks.same_database(here, connect(**server.arguments(""))) for server in (mariadb, mysql)
    }
    assert others == {True, False}


@pytest.mark.parametrize(
    ("hold", "wait"),
    [
        (("BEGIN", "SELECT * FROM t FOR UPDATE"), "UPDATE t SET v = 2"),
        (("BEGIN", "SELECT * FROM t"), "ALTER TABLE t ADD w INT"),
        (("SELECT GET_LOCK('it', 0)",), "SELECT GET_LOCK('it', 60)"),
    ],
    ids=["row", "table", "named"],
)
def test_who_waits_for_a_lock_is_told_to_stop(
    connect: Connect, hold: tuple[str, ...], wait: str
) -> None:
    holder, waiter, beside = connect(), connect(lock=60), connect()
    execute(holder, "CREATE TABLE t (id INT PRIMARY KEY, v INT)")
    execute(holder, "INSERT INTO t VALUES (1, 1)")
    for statement in hold:
        rows(holder, statement)
    ended: list[object] = []
    session = waiter.thread_id()

    def work() -> None:
        try:
            ended.append(rows(waiter, wait))
        except MySQLdb.Error as error:
            ended.append(error.args[0])

    thread = threading.Thread(target=work)
    thread.start()
    until = time.monotonic() + 30
    while thread.is_alive() and time.monotonic() < until:
        locks.unblock(beside, session)
        thread.join(0.2)
    thread.join(30)
    # Interrupted; of a named lock the server may say that it was not had.
    assert ended in ([1317], [[(None,)]])


def test_who_works_is_left_alone(connect: Connect) -> None:
    worker, beside = connect(), connect()
    session = worker.thread_id()
    thread = threading.Thread(target=lambda: rows(worker, "SELECT SLEEP(0.6) INTO @slept"))
    thread.start()
    for _ in range(3):
        locks.unblock(beside, session)
        time.sleep(0.1)
    thread.join(30)
    assert rows(worker, "SELECT @slept")[0][0] == b"0"

"""Jobs that wait for replicas and busy servers: a primary and its replica on one machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.engine.errors import Denied, Refused, Terminated
from dsp_airflow.engine.limits import Limit, above
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.mysql.store import MySqlStore
from dsp_airflow.progress import LogWatch
from dsp_airflow.steps import TaskRun
from tests.mysql.pairs import Pair
from tests.servers import MariaDBServer, MySQLDatabase, fresh_mysql_database


@dataclass
class Replicated(Pair):
    """Source and target stand on a primary; the connection ``replica`` leads to its replica."""

    replica: MariaDBServer = field(default_factory=MariaDBServer)
    user: str = "root"
    password: str | None = None

    def store(self, conn_id: str) -> Store:
        if conn_id == "replica":
            arguments = self.replica.arguments(user=self.user, password=self.password)
            return MySqlStore(conn_id, arguments)
        return super().store(conn_id)

    def planned(self, limits: Any) -> TaskRun:
        self.write(self.job(batch_size=1, limits=limits))
        run = self.open(new=True)
        run.plan("copy")
        return run


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[MariaDBServer, MariaDBServer]]:
    """A primary, and a replica that follows it."""
    with (
        MariaDBServer(binlog=True) as primary,
        MariaDBServer({"server_id": 2}) as replica,
    ):
        password = primary.create_user("follower", "REPLICATION SLAVE ON *.*")
        [(position,)] = primary.run("SELECT @@gtid_binlog_pos")
        replica.run(
            f"SET GLOBAL gtid_slave_pos = '{position}'",
            f"CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {primary.port}, "
            f"MASTER_USER = 'follower', MASTER_PASSWORD = '{password}', "
            "MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
            "START SLAVE",
        )
        yield primary, replica


@pytest.fixture
def jobs(tmp_path: Path, servers: tuple[MariaDBServer, MariaDBServer]) -> Iterator[Replicated]:
    primary, replica = servers
    with fresh_mysql_database(primary) as source, fresh_mysql_database(primary) as target:
        made = Replicated(tmp_path, source, target, replica)
        made.source.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
        until(lambda: lag(made) == "")
        yield made


def until(true: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def lag(jobs: Replicated, limit: Any = None) -> str:
    asked = limit or Limit(jobs.store("replica"), lag=timedelta(seconds=10), replica=True)
    with asked.store.session() as session:
        return above(asked, session)


@dataclass
class Copying:
    """A copy that runs beside the test, and what it says."""

    run: TaskRun
    said: list[str] = field(default_factory=list)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.run.watch = LogWatch(self.said.append)
        self._thread = threading.Thread(target=self._copy)
        self._thread.start()

    def _copy(self) -> None:
        try:
            self.run.copy("copy")
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def told(self, word: str) -> list[str]:
        return [line for line in self.said if word in line]

    def ended(self) -> BaseException | None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error


NAMED = {"replica_lag": {"max": "10s", "connections": ["replica"]}}


def rows(database: MySQLDatabase) -> int:
    if not database.run("SHOW TABLES LIKE 't'"):
        return 0
    return int(database.value("SELECT COUNT(*) FROM t"))


def test_a_copy_waits_for_a_replica_that_stands_still(jobs: Replicated) -> None:
    """It says so once, goes on when replication does, and hears a request to stop meanwhile."""
    run = jobs.planned(NAMED)
    jobs.replica.run("STOP SLAVE SQL_THREAD")
    try:
        with pytest.raises(Refused, match=r"127.0.0.1 is behind is not known: it applies nothing"):
            jobs.planned(NAMED)
        copying = Copying(run)
        until(lambda: copying.told("waits before its next batch: connection replica"))
        time.sleep(2.5)
        assert len(copying.told("waits")) == 1
        assert rows(jobs.target) == 0
    finally:
        jobs.replica.run("START SLAVE SQL_THREAD")
    assert copying.ended() is None
    assert len(copying.told("goes on after")) == 1
    assert rows(jobs.target) == 2

    run = jobs.planned(NAMED)
    jobs.replica.run("STOP SLAVE SQL_THREAD")
    try:
        copying = Copying(run)
        until(lambda: copying.told("waits"))
        run.pace.stop("the test says so")
        assert isinstance(copying.ended(), Terminated)
    finally:
        jobs.replica.run("START SLAVE SQL_THREAD")


def test_a_replica_that_is_behind_or_does_not_answer(jobs: Replicated) -> None:
    jobs.replica.run("STOP SLAVE", "CHANGE MASTER TO MASTER_DELAY = 600", "START SLAVE")
    few = {"replica_lag": {"max": "1s", "connections": ["replica"]}}
    try:
        run = jobs.planned(NAMED)
        jobs.source.execute("INSERT INTO t VALUES (3)")
        strict = Limit(jobs.store("replica"), lag=timedelta(seconds=1), replica=True)
        until(lambda: "s behind, and limits.replica_lag is 1 s" in lag(jobs, strict))
        # What is not kept today is no reason against a plan, and holds a copy back.
        copying = Copying(jobs.planned(few))
        until(lambda: copying.told("behind"))
    finally:
        jobs.replica.run("STOP SLAVE", "CHANGE MASTER TO MASTER_DELAY = 0", "START SLAVE")
    assert copying.ended() is None
    jobs.password = "wrong"
    copying = Copying(run)
    until(lambda: copying.told("replica does not say how loaded it is"))
    jobs.password = None
    run.pace.stop("enough")
    assert isinstance(copying.ended(), Terminated)


def test_limits_that_nobody_can_tell(jobs: Replicated) -> None:
    with pytest.raises(Refused, match=r"source and target replicates from no server, .* name them"):
        jobs.planned({"replica_lag": "10s"})
    with pytest.raises(Refused, match="connection source is no replica of any server"):
        jobs.planned({"replica_lag": {"max": "10s", "connections": ["source"]}})
    jobs.user, jobs.password = "little", jobs.replica.create_user("little")
    with pytest.raises(Denied, match=r"(?i)slave monitor"):
        jobs.planned(NAMED)
    jobs.replica.drop_user("little")


def test_a_copy_waits_for_a_busy_server(jobs: Replicated) -> None:
    run = jobs.planned({"threads_running": 2})
    with jobs.source.connect() as one, jobs.source.connect() as two, jobs.source.connect() as three:
        for busy in (one, two, three):
            busy.send_query("SELECT SLEEP(3)")
        copying = Copying(run)
        until(lambda: copying.told("threads run, and limits.threads_running is 2"))
        assert copying.ended() is None
        assert len(copying.told("goes on after")) == 1
        for busy in (one, two, three):
            busy.read_query_result()
            busy.store_result()
    assert rows(jobs.target) == 2

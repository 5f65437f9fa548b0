"""Fixtures for all tests: a clean Airflow home, real servers, a fresh database per test.

A server that is missing or does not start fails the tests that need it. Only the tests on MySQL 9,
which no Debian release carries, are skipped where it could not be had, and the summary says so.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.engine.harness import Bench

# Before anything imports Airflow: no setting and no connection of the machine reaches a test.
for _name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[_name]
_AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="dsp-airflow-home-"))
os.environ["AIRFLOW_HOME"] = str(_AIRFLOW_HOME)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
# By default nothing works before people have agreed to it, and without grants. Tests about that
# take these away, or say True; all others are about what comes after it.
os.environ["AIRFLOW__DSP__ENFORCE_APPROVAL"] = "False"
os.environ["AIRFLOW__DSP__ENFORCE_GRANTS"] = "False"

from tests.cli.warm import Forks  # noqa: E402
from tests.servers import (  # noqa: E402
    REPORT,
    Database,
    MariaDBServer,
    MongoDatabase,
    MongoServer,
    MySQLDatabase,
    MySQLFamilyServer,
    MySQLMissingError,
    MySQLServer,
    PostgresServer,
    ServerReport,
    SmtpSink,
    fresh_database,
    fresh_mongo_database,
    fresh_mysql_database,
    postgres,
)
from tests.servers.mysql import mysql_folder  # noqa: E402
from tests.servers.s3 import Place, S3Server, fresh_bucket  # noqa: E402
from tests.share import by_turns, full  # noqa: E402

NewDatabase = Callable[[], Database]
NewMySQLDatabase = Callable[[], MySQLDatabase]
NewMongoDatabase = Callable[[], MongoDatabase]


def pytest_configure(config: pytest.Config) -> None:
    """Let a `timeout` end the run in order, so that no server is left behind."""
    config.stash[REPORT] = ServerReport()
    config.pluginmanager.register(config.stash[REPORT], "dsp-servers")

    def stop(number: int, frame: FrameType | None) -> None:
        pytest.exit("terminated", returncode=128 + number)

    signal.signal(signal.SIGTERM, stop)


def pytest_unconfigure() -> None:
    shutil.rmtree(_AIRFLOW_HOME, ignore_errors=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what is marked `soak` unless it was asked for, and those whose turn it is not."""
    items.sort(key=_begins)
    if not config.getoption("keyword"):
        others = by_turns([item.nodeid for item in items])
        for item in items:
            if item.nodeid in others:
                item.add_marker(pytest.mark.soak)
    if full() or "soak" in config.getoption("markexpr"):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=soak)


# Each of the first four starts a whole Airflow: begun one after the other they would all be at
# work at once. The last would go on by itself when all others have ended.
_APART = {
    "e2e/test_standalone.py": "cases",
    "e2e/test_mails.py": "engine",
    "e2e/test_approval.py": "faults",
    "e2e/test_celery.py": "s3",
    "web/test_pages.py": "mongo",
}


def _begins(item: pytest.Item) -> tuple[str, bool]:
    """The folder of tests that a test stands in, or before which it begins."""
    file = item.path.relative_to(Path(__file__).parent).as_posix()
    folder = file.partition("/")[0]
    return (_APART[file], False) if file in _APART else (folder, folder != "e2e")


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """The AIRFLOW_HOME of this test session."""
    return _AIRFLOW_HOME


@pytest.fixture(scope="session")
def airflow_db(airflow_home: Path) -> Path:
    """Airflow's metadata database (SQLite), migrated once per session; returns AIRFLOW_HOME."""
    airflow = Path(sys.executable).parent / "airflow"
    done = subprocess.run(
        [str(airflow), "db", "migrate"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return airflow_home


@pytest.fixture(scope="session")
def pg15(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """PostgreSQL 15, Debian's."""
    with postgres("15") as server:
        pytestconfig.stash[REPORT].used.add(f"PostgreSQL {server.version}")
        yield server


@pytest.fixture(scope="session")
def pg18(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    """PostgreSQL 18, from the wheel."""
    with postgres("18") as server:
        pytestconfig.stash[REPORT].used.add(f"PostgreSQL {server.version}")
        yield server


@pytest.fixture(params=["15", "18"], ids=["pg15", "pg18"])
def pg(request: pytest.FixtureRequest) -> PostgresServer:
    """Each PostgreSQL in turn."""
    server: PostgresServer = request.getfixturevalue(f"pg{request.param}")
    return server


@pytest.fixture
def pg15_db(pg15: PostgresServer) -> Iterator[Database]:
    """A fresh database on PostgreSQL 15."""
    with fresh_database(pg15) as database:
        yield database


@pytest.fixture
def pg18_db(pg18: PostgresServer) -> Iterator[Database]:
    """A fresh database on PostgreSQL 18."""
    with fresh_database(pg18) as database:
        yield database


@pytest.fixture
def pg_db(pg: PostgresServer) -> Iterator[Database]:
    """A fresh database on each PostgreSQL in turn."""
    with fresh_database(pg) as database:
        yield database


@pytest.fixture
def new_pg_db(pg: PostgresServer) -> Iterator[NewDatabase]:
    """Makes as many fresh databases as the test calls for, on each PostgreSQL in turn."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(fresh_database(pg))


@pytest.fixture(scope="session")
def mariadb(pytestconfig: pytest.Config) -> Iterator[MariaDBServer]:
    """MariaDB, Debian's."""
    with MariaDBServer() as server:
        pytestconfig.stash[REPORT].used.add(f"MariaDB {server.version}")
        yield server


@pytest.fixture(scope="session")
def mysql_installed(pytestconfig: pytest.Config) -> None:
    """Skips, and has the summary say so, where MySQL 9 could not be had."""
    try:
        mysql_folder()
    except MySQLMissingError as missing:
        if os.environ.get("DSP_REQUIRE_MYSQL") == "1":
            raise
        pytestconfig.stash[REPORT].missing["MySQL 9"] = str(missing)
        pytest.skip(f"MySQL 9: NOT TESTED, because {missing}")


@pytest.fixture(scope="session")
def mysql(mysql_installed: None, pytestconfig: pytest.Config) -> Iterator[MySQLServer]:
    """MySQL 9, from Debian sid."""
    with MySQLServer() as server:
        pytestconfig.stash[REPORT].used.add(f"MySQL {server.version}")
        yield server


@pytest.fixture(params=["mariadb", "mysql"])
def my(request: pytest.FixtureRequest) -> MySQLFamilyServer:
    """MariaDB and MySQL in turn."""
    server: MySQLFamilyServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def mariadb_db(mariadb: MariaDBServer) -> Iterator[MySQLDatabase]:
    """A fresh database on MariaDB."""
    with fresh_mysql_database(mariadb) as database:
        yield database


@pytest.fixture
def mysql_db(mysql: MySQLServer) -> Iterator[MySQLDatabase]:
    """A fresh database on MySQL 9."""
    with fresh_mysql_database(mysql) as database:
        yield database


@pytest.fixture
def my_db(my: MySQLFamilyServer) -> Iterator[MySQLDatabase]:
    """A fresh database on MariaDB and MySQL in turn."""
    with fresh_mysql_database(my) as database:
        yield database


@pytest.fixture
def new_my_db(my: MySQLFamilyServer) -> Iterator[NewMySQLDatabase]:
    """Makes as many fresh databases as the test calls for, on MariaDB and MySQL in turn."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(fresh_mysql_database(my))


@pytest.fixture(scope="session")
def mongo(pytestconfig: pytest.Config) -> Iterator[MongoServer]:
    """MongoDB, a replica set of one."""
    with MongoServer() as server:
        pytestconfig.stash[REPORT].used.add(f"MongoDB {server.version}")
        yield server


@pytest.fixture(scope="session")
def mongo_alone() -> Iterator[MongoServer]:
    """MongoDB, standalone: without transactions."""
    with MongoServer(replica_set=False) as server:
        yield server


@pytest.fixture
def mongo_db(mongo: MongoServer) -> Iterator[MongoDatabase]:
    """A fresh database on the replica set."""
    with mongo.connect() as client, fresh_mongo_database(mongo, client) as database:
        yield database


@pytest.fixture
def new_mongo_db(mongo: MongoServer) -> Iterator[NewMongoDatabase]:
    """Makes as many fresh databases on the replica set as the test calls for."""
    with mongo.connect() as client, ExitStack() as stack:
        yield lambda: stack.enter_context(fresh_mongo_database(mongo, client))


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    """An S3 server that knows versions and conditions."""
    with S3Server("moto") as server:
        yield server


@pytest.fixture(scope="session")
def rclone() -> Iterator[S3Server]:
    """An S3 server that checks signatures."""
    with S3Server("rclone") as server:
        yield server


@pytest.fixture(params=["moto", "rclone"])
def s3_place(request: pytest.FixtureRequest) -> Place:
    """A fresh bucket on each S3 server in turn."""
    return fresh_bucket(request.getfixturevalue(request.param))


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """What starts the command fast."""
    with closing(Forks()) as found:
        yield found


@pytest.fixture(scope="session")
def _smtp() -> Iterator[SmtpSink]:
    with SmtpSink() as sink:
        yield sink


@pytest.fixture
def smtp_sink(_smtp: SmtpSink) -> SmtpSink:
    """An SMTP server whose inbox is empty at the start of the test."""
    _smtp.clear()
    return _smtp


@pytest.fixture
def bench(tmp_path: Path, new_pg_db: NewDatabase) -> Bench[Database]:
    """A task folder with a state database, and two fresh databases on each PostgreSQL in turn."""
    from tests.engine.harness import Bench

    return Bench(tmp_path, new_pg_db(), new_pg_db())

"""docs/privileges.md: a login with exactly what it says does the work, and with less is refused."""

from __future__ import annotations

import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self

import MySQLdb
import pytest
from botocore.awsrequest import AWSResponse
from MySQLdb.constants import ER
from sqlalchemy import text

from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Refused
from dsp_airflow.engine.ports import Store
from dsp_airflow.notify import remedies
from dsp_airflow.state import receipts
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from dsp_airflow.state.maintenance import prune
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.switches import Switches
from tests.conftest import NewDatabase, NewMongoDatabase, NewMySQLDatabase
from tests.engine.harness import store_at
from tests.mysql.pairs import Pair
from tests.s3.drills import Drills
from tests.s3.harness import archives, finished
from tests.servers import Database, MongoDatabase, MySQLDatabase
from tests.servers.s3 import S3Server, fresh_bucket

PAGE = Path(__file__).parents[2] / "docs" / "privileges.md"
ROWS = 30
Side = Literal["source", "target"]


def section(heading: str) -> str:
    """The text below a heading of the page."""
    _, found, rest = PAGE.read_text().partition(f"### {heading}\n")
    assert found, heading
    return re.split(r"^##", rest, flags=re.MULTILINE)[0]


@dataclass(frozen=True)
class Case:
    """What a login is for, and a job that needs all of it."""

    name: str
    side: Side
    there: bool = False
    """The target's table stands before the job begins, with a row of its own."""
    job: dict[str, Any] | None = None


CASES = (
    Case("read", "source"),
    Case("purge", "source", job={"purge": "system"}),
    Case("create", "target"),
    Case("write", "target", there=True),
    Case("delete missing rows", "target", there=True, job={"delete_missing": {"limit": 5}}),
    Case("replace", "target", there=True, job={"mode": "replace"}),
)


class System(ABC):
    """How one system is asked for a login with these grants."""

    name: str

    def grants(self, case: str) -> tuple[list[str], list[str]]:
        """One privilege each: those that a case adds, and those that it builds on."""
        told = section(f"{self.name}: {case}")
        blocks = re.findall(r"```\w+\n(.*?)```", told, re.DOTALL)
        base = re.search(r"Beside those to (\w+)", told)
        below: list[str] = []
        if base is not None:
            own, further = self.grants(base[1])
            below = further + own
        return [one for block in blocks for one in self.split(block)], below

    def split(self, block: str) -> Iterator[str]:
        """Statements of SQL, one privilege each."""
        for statement in re.findall(r"^(\w[^;]+);", block, re.MULTILINE):
            granted = re.fullmatch(r"GRANT (.+?) ON (.+)", statement)
            if granted is None:
                yield statement
            else:
                yield from (f"GRANT {one} ON {granted[2]}" for one in granted[1].split(", "))

    @abstractmethod
    def prepare(self, database: Any, table: str, rows: range) -> None:
        """The table with these rows, which no login has anything to do with yet."""

    @abstractmethod
    def clear(self, database: Any) -> None:
        """No table."""

    @abstractmethod
    def tables(self, database: Any) -> list[str]:
        """Names of those that are there."""

    @contextmanager
    @abstractmethod
    def login(self, database: Any, grants: Sequence[str]) -> Iterator[dict[str, Any]]:
        """What the driver is given for a login with these grants."""


class PostgreSQL(System):
    name = "PostgreSQL"

    def prepare(self, database: Database, table: str, rows: range) -> None:
        database.execute(
            f"CREATE TABLE {table} (id bigint PRIMARY KEY, v text)",
            f"INSERT INTO {table} SELECT n, 'v' FROM generate_series({rows[0]}, {rows[-1]}) n",
        )

    def clear(self, database: Database) -> None:
        database.execute(
            "DROP SCHEMA public CASCADE",
            "CREATE SCHEMA public",
            f"REVOKE ALL ON DATABASE {database.name} FROM PUBLIC",
        )

    def tables(self, database: Database) -> list[str]:
        query = "SELECT relname FROM pg_class WHERE relkind = 'r'"
        return [name for (name,) in database.rows(query)]

    @contextmanager
    def login(self, database: Database, grants: Sequence[str]) -> Iterator[dict[str, Any]]:
        role = f"role_of_{database.name}"
        database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        for grant in grants:
            said = re.sub(r"DATABASE \w+", f"DATABASE {database.name}", grant)
            database.execute(re.sub(r"\b(TO|FROM) (reader|writer|worker)", rf"\1 {role}", said))
        try:
            yield {"user": role, "password": "x"}
        finally:
            database.execute(f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


class MySQL(System):
    name = "MySQL and MariaDB"

    def prepare(self, database: MySQLDatabase, table: str, rows: range) -> None:
        values = ", ".join(f"({n}, 'v')" for n in rows)
        database.execute(
            f"CREATE TABLE {table} (id bigint PRIMARY KEY, v varchar(9))",
            f"INSERT INTO {table} VALUES {values}",
        )

    def clear(self, database: MySQLDatabase) -> None:
        for table in self.tables(database):
            database.execute(f"DROP TABLE {table}")

    def tables(self, database: MySQLDatabase) -> list[str]:
        return [name for (name,) in database.rows("SHOW TABLES")]

    @contextmanager
    def login(self, database: MySQLDatabase, grants: Sequence[str]) -> Iterator[dict[str, Any]]:
        user = f"user_of_{database.name}"
        password = database.server.create_user(user)
        for where, which in self.by_object(grants).items():
            there = re.sub(r"^(shop|warehouse|drill)\.", f"{database.name}.", where)
            try:
                database.execute(f"GRANT {', '.join(which)} ON {there} TO {user}")
            except MySQLdb.ProgrammingError as error:
                # What is not there can be granted with CREATE only.
                assert error.args[0] == ER.NO_SUCH_TABLE, error  # noqa: PT017
                assert "CREATE" not in which
        try:
            yield {"user": user, "password": password}
        finally:
            database.server.drop_user(user)

    @staticmethod
    def by_object(grants: Sequence[str]) -> dict[str, list[str]]:
        """What is granted on each thing: together, as the page has it."""
        found: dict[str, list[str]] = {}
        for grant in grants:
            [(which, where)] = re.findall(r"^GRANT (.+) ON (\S+) TO \w+$", grant)
            found.setdefault(where, []).append(which)
        return found


class MongoDB(System):
    name = "MongoDB"

    def split(self, block: str) -> Iterator[str]:
        pattern = r'collection: "(\w*)"}, actions: \[([^\]]+)\]'
        for collection, actions in re.findall(pattern, block):
            yield from (f"{collection} {one}" for one in re.findall(r'"(\w+)"', actions))

    def prepare(self, database: MongoDatabase, table: str, rows: range) -> None:
        database[table].insert_many([{"_id": n, "v": "v"} for n in rows])

    def clear(self, database: MongoDatabase) -> None:
        for name in self.tables(database):
            database[name].drop()

    def tables(self, database: MongoDatabase) -> list[str]:
        return database.database.list_collection_names()

    @contextmanager
    def login(self, database: MongoDatabase, grants: Sequence[str]) -> Iterator[dict[str, Any]]:
        user = f"user_of_{database.name}"
        pairs = [grant.split(" ") for grant in grants]
        listed = [(database.name, collection, [action]) for collection, action in pairs]
        yield {"username": user, "password": database.server.create_user(user, listed)}


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path, None, None)


def attempt(
    system: System, pair: Pair, case: Case, grants: Sequence[str], on_conflict: str
) -> DspError | None:
    """A whole run with that login on the case's side; how it was refused."""
    for database in (pair.source, pair.target):
        system.clear(database)
    system.prepare(pair.source, "flights", range(1, ROWS + 1))
    if case.there:
        system.prepare(pair.target, "flights_archive", range(1000, 1001))
    where = {"source": pair.source, "target": pair.target}
    job = {"check": {"percent": 100}, **(case.job or {})}
    if on_conflict != "update":
        job |= {"on_conflict": on_conflict}
    target = {"table": pair.named(pair.target, "flights_archive")}
    pair.write(pair.job(table="flights", target=target, **job))
    with system.login(where[case.side], grants) as login:

        def store(conn_id: str) -> Store:
            changed = login if conn_id == case.side else {}
            return store_at(conn_id, where[conn_id].uri, **changed)

        pair.store = store  # type: ignore[method-assign]
        try:
            found = pair.run(new=True).jobs[0]
            if case.name == "create":
                # What it made is there by the next time.
                found = pair.run(new=True).jobs[0]
        except DspError as error:
            return error
    assert found.rows_written == ROWS
    assert found.rows_purged == (ROWS if job.get("purge") else 0)
    assert found.rows_deleted == (1 if job.get("delete_missing") else 0)
    return None


def prove(system: System, pair: Pair, case: Case) -> None:
    own, base = system.grants(case.name)
    assert own, case
    refused = attempt(system, pair, case, [*base, *own], "update")
    assert refused is None, (case.name, refused)
    for missing in own:
        less = [*base, *(one for one in own if one != missing)]
        ways = ("update",) if case.job else ("update", "error")
        found = [attempt(system, pair, case, less, way) for way in ways]
        told = next((error for error in found if error is not None), None)
        assert isinstance(told, (Denied, Refused)), (case.name, missing, found)
        named = re.split(r"\W+", missing.replace("shop", "").replace("warehouse", ""))
        assert any(word and word in str(told) for word in named if word != "GRANT"), told


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_postgresql(case: Case, pair: Pair, new_pg_db: NewDatabase) -> None:
    pair.source, pair.target = new_pg_db(), new_pg_db()
    prove(PostgreSQL(), pair, case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_mysql_and_mariadb(case: Case, pair: Pair, new_my_db: NewMySQLDatabase) -> None:
    pair.source, pair.target = new_my_db(), new_my_db()
    prove(MySQL(), pair, case)


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.name.startswith("delete")], ids=lambda c: c.name
)
def test_mongodb(case: Case, pair: Pair, new_mongo_db: NewMongoDatabase) -> None:
    pair.source, pair.target = new_mongo_db(), new_mongo_db()
    prove(MongoDB(), pair, case)


@pytest.mark.parametrize(
    ("system", "database", "table"),
    [
        (PostgreSQL(), "pg15_db", "drill.t"),
        (MySQL(), "mariadb_db", "{}.t"),
        (MongoDB(), "mongo_db", "t"),
    ],
    ids=["postgresql", "mariadb", "mongodb"],
)
def test_drills(
    system: System,
    database: str,
    table: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    pg18_db: Database,
    moto: S3Server,
) -> None:
    """In each system: with what the page says they leave nothing; with less they say what lacks."""
    jobs: Any = archives(tmp_path, pg18_db, fresh_bucket(moto))
    jobs.target = target = request.getfixturevalue(database)
    jobs.source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text)")
    jobs.source.execute("INSERT INTO t SELECT n, 'v' FROM generate_series(1, 9) n")
    jobs.write(jobs.job())
    jobs.run()
    drills = Drills(jobs)
    drills.write(table.format(target.name))

    def attempt(grants: Sequence[str]) -> DspError | None:
        system.clear(target)
        if isinstance(system, PostgreSQL):
            target.execute("DROP SCHEMA IF EXISTS drill CASCADE", "CREATE SCHEMA drill")
        at = jobs.store
        with system.login(target, grants) as login, pytest.MonkeyPatch.context() as patch:

            def store(conn_id: str) -> Store:
                its: Store = at(conn_id)
                return store_at(conn_id, target.uri, **login) if conn_id == "target" else its

            patch.setattr(jobs, "store", store)
            try:
                found = drills.run().jobs[0]
            except DspError as error:
                return error
        assert found.rows_checked == found.rows_written == 9
        assert [name for name in system.tables(target) if "drill" in name] == []
        return None

    own, _ = system.grants("drill")
    own = [one for one in own if not one.startswith("CREATE SCHEMA")]
    assert attempt(own) is None
    for missing in own:
        told = attempt([one for one in own if one != missing])
        assert isinstance(told, (Denied, Refused)), (missing, told)
        word = missing.split(" ")[1]
        assert word in str(told), (missing, told)
        assert remedies.next_step(str(told)) is not None, told


def test_the_state_database(pair: Pair, new_pg_db: NewDatabase) -> None:
    """Workers do all their work, and cannot rewrite what was done."""
    system = PostgreSQL()
    own, _ = system.grants("state")
    state, pair.source, pair.target = new_pg_db(), new_pg_db(), new_pg_db()
    system.clear(state)
    upgrade(state.sqlalchemy_url)
    pair.state.close()

    system.prepare(pair.source, "flights", range(1, ROWS + 1))
    pair.write(pair.job(table="flights", check={"percent": 100}, purge="system"))
    with as_worker(system, state, own) as database:
        pair.state = database
        assert pair.run().jobs[0].rows_purged == ROWS
        Switches(database).set("task", "disabled", "ann")
        assert receipts.verify(database) == []
        prune(database, timedelta(0))
        for table in ("receipts", "audit"):
            for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET seq = seq"):
                with pytest.raises(Denied, match=f"for table {table}"):
                    change(database, statement)

    def work(grants: Sequence[str]) -> None:
        with as_worker(system, state, grants) as pair.state:
            pair.run(new=True)

    for missing in own[:3]:
        with pytest.raises((ConfigError, Denied), match="login"):
            work([one for one in own if one != missing])


@contextmanager
def as_worker(system: System, state: Database, grants: Sequence[str]) -> Iterator[StateDatabase]:
    with system.login(state, grants) as login:
        uri = state.server.uri(state.name, user=login["user"], password=login["password"])
        with open_state("postgresql+psycopg" + uri.removeprefix("postgresql")) as database:
            yield database


def change(database: StateDatabase, statement: str) -> None:
    with database.write() as connection:
        connection.execute(text(statement))


ACTIONS = {
    "ListObjectsV2": "ListBucket",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "HeadObject": "GetObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
}
"""Calls of S3 whose action of IAM has another name."""


def documented(case: str) -> set[str]:
    return set(re.findall(r'"s3:(\w+)"', section(f"S3: {case}").partition("\n]\n")[0]))


class Policy:
    """Stands where IAM would: lets calls pass by their actions, and keeps count of them."""

    def __init__(self, client: Any) -> None:
        self._events = client.meta.events
        self.allow(set())

    def __enter__(self) -> Self:
        self._events.register("before-call.s3", self.judge)
        return self

    def __exit__(self, *_: object) -> None:
        # The client is everybody's.
        self._events.unregister("before-call.s3", self.judge)

    def allow(self, actions: set[str]) -> None:
        self.allowed = actions
        self.used: set[str] = set()

    def judge(self, model: Any, **_: Any) -> Any:
        action = ACTIONS.get(model.name, model.name)
        self.used.add(action)
        if action in self.allowed:
            return None
        message = f"no identity-based policy allows the s3:{action} action"
        error = {"Error": {"Code": "AccessDenied", "Message": message}}
        return AWSResponse("http://archive", 403, {}, None), error


def test_s3(tmp_path: Path, pg18_db: Database, moto: S3Server) -> None:
    """No server here judges by policies: the calls that are made tell what has to be allowed."""
    place = fresh_bucket(moto)
    jobs = archives(tmp_path, pg18_db, place)
    jobs.client = place.client
    with Policy(jobs.client) as policy:
        judged(jobs, pg18_db, policy)


def judged(jobs: Any, database: Database, policy: Policy) -> None:
    prefixes = itertools.count()

    def work(allowed: set[str]) -> set[str]:
        policy.allow(allowed)
        database.execute(
            "DROP TABLE IF EXISTS t",
            "CREATE TABLE t (id bigint PRIMARY KEY, v text)",
            # More than one part, so that uploads have several.
            "INSERT INTO t SELECT n, string_agg(md5((n * 99999 + m)::text), '') "
            "FROM generate_series(1, 8) n, generate_series(1, 30000) m GROUP BY n",
        )
        # A folder that nothing lies in yet, which is looked at first.
        target = {"prefix": f"from_{next(prefixes)}"}
        jobs.write(jobs.job(check={"percent": 100}, purge="system", target=target))
        jobs.run(new=True)
        return policy.used

    allowed = documented("archive, check, purge")
    # Uploads that break off are the only ones to be aborted.
    assert work(allowed) == allowed - {"AbortMultipartUpload"}
    for missing in sorted(allowed - {"AbortMultipartUpload"}):
        with pytest.raises((Denied, Refused)) as refused:
            work(allowed - {missing})
        assert missing in str(refused.value)
    policy.allow(documented("restore, look"))
    database.execute("TRUNCATE t")
    run = jobs.restoring(Runs(jobs.state).recent()[-1].id)
    assert finished(run).rows_written == 8
    assert policy.used <= policy.allowed

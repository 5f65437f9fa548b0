"""Rows that refer to one another: purged leaf to root, kept where others refer to them."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import MySQLdb
import psycopg
import pytest

from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.stores.mysql.references import Guard as MyGuard
from dsp_airflow.engine.stores.postgres.references import Guard as PgGuard
from dsp_airflow.purge_order import in_purge_order
from dsp_airflow.steps import TaskRun
from tests.engine.harness import Bench
from tests.engine.scenes import as_role, done
from tests.mysql.pairs import Pair
from tests.servers import Database, PostgresServer, fresh_database, fresh_mysql_database

WHOLE: dict[str, Any] = {"purge": "system", "check": {"percent": 100}}


@pytest.fixture(params=["pg15", "mariadb", "mysql"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """Two databases of one server."""
    server = request.getfixturevalue(request.param)
    fresh: Any = fresh_database if isinstance(server, PostgresServer) else fresh_mysql_database
    with ExitStack() as stack:
        yield Pair(tmp_path, stack.enter_context(fresh(server)), stack.enter_context(fresh(server)))


def rows(database: Any, table: str) -> set[tuple[str, ...]]:
    found = database.rows(f"SELECT * FROM {table}")
    return {tuple(map(str, row)) for row in found}


def copied(pair: Pair, *jobs: dict[str, Any], **task: Any) -> TaskRun:
    pair.write(*jobs, **task)
    run = pair.open()
    for job in run.task.jobs:
        run.plan(job.name)
        run.copy(job.name)
        run.check(job.name)
    return run


def kept(run: TaskRun, job: str) -> dict[str, str]:
    found = run.runs.differences(run.run.id, job)
    return {",".join(d.difference.key): d.difference.reason for d in found}


SHOP = """
CREATE TABLE customers (id int PRIMARY KEY, code int NOT NULL UNIQUE, name varchar(9));
CREATE TABLE orders (id int PRIMARY KEY, customer int,
  CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id));
CREATE TABLE parts (order_id int, n int, v varchar(9), PRIMARY KEY (order_id, n),
  CONSTRAINT of_order FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE);
CREATE TABLE notes (id int PRIMARY KEY, order_id int, code int,
  CONSTRAINT on_order FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE SET NULL,
  CONSTRAINT on_customer FOREIGN KEY (code) REFERENCES customers (code) ON DELETE CASCADE);
CREATE TABLE refunds (id int PRIMARY KEY, order_id int,
  CONSTRAINT of_refund FOREIGN KEY (order_id) REFERENCES orders (id))
"""


def shop(pair: Pair) -> None:
    pair.source.execute(
        *SHOP.split(";"),
        filled("customers", ((n, n + 100, 7) for n in range(1, 13))),
        filled("orders", ((n, n) for n in range(1, 12))),
        filled("parts", ((n, m, 7) for n in range(1, 11) for m in (1, 2))),
        filled("notes", ((n, n, n + 101) for n in range(1, 10))),
        filled("refunds", [(1, 11)]),
    )


def filled(table: str, found: Iterable[tuple[int | None, ...]]) -> str:
    lines = (", ".join("NULL" if v is None else str(v) for v in row) for row in found)
    return f"INSERT INTO {table} VALUES " + ", ".join(f"({line})" for line in lines)


TABLES = ("customers", "orders", "notes", "parts")


def test_leaf_to_root_whatever_the_order(pair: Pair) -> None:
    """Parents stand first in the file, and are asked to be purged first."""
    shop(pair)
    before = {table: rows(pair.source, table) for table in (*TABLES, "refunds")}
    jobs = [pair.job(table, table, batch_size=5, **WHOLE) for table in TABLES]
    run = copied(pair, *jobs, execution="parallel")
    told = "\n".join(run.plan("orders").warnings)
    assert "parts are purged first" in told.replace(f"{schema(pair)}.", "")
    assert "refunds refers stay" in told.replace(f"{schema(pair)}.", "")
    # A part changes, so that it stays, and with it order 3 and customer 3.
    pair.source.execute("UPDATE parts SET v = 'late' WHERE order_id = 3 AND n = 2")
    now = before["parts"] - {("3", "2", "7")} | {("3", "2", "late")}
    for job in TABLES:
        run.purge(job)
    assert rows(pair.source, "parts") == {("3", "2", "late")}
    assert rows(pair.source, "notes") == set()
    # One has the part, the other a refund, of which no job knows.
    assert rows(pair.source, "orders") == {("3", "3"), ("11", "11")}
    assert rows(pair.source, "customers") == {("3", "103", "7"), ("11", "111", "7")}
    assert rows(pair.source, "refunds") == before["refunds"]
    for table in TABLES:
        there = rows(pair.source, table) | rows(pair.target, table)
        assert there == (before[table] | now if table == "parts" else before[table])
        assert rows(pair.target, table) == before[table]
    why = kept(run, "orders")
    assert "parts still refers to it (of_order)" in why["3"]
    assert "refunds still refers to it (of_refund)" in why["11"]
    assert "orders still refers to it (of_customer)" in kept(run, "customers")["3"]
    found = {job.name: (job.rows_purged, job.rows_kept) for job in run.finish().jobs}
    assert found == {"customers": (10, 2), "orders": (9, 2), "notes": (9, 0), "parts": (19, 1)}


def schema(pair: Pair) -> str:
    return "public" if isinstance(pair.source, Database) else pair.source.name


def test_refused_with_the_path(pair: Pair) -> None:
    """What would act on rows that nobody proves, and tables that go round in a circle."""
    shop(pair)
    at = schema(pair)

    def refused(name: str, *tables: str, **more: Any) -> str:
        pair.write(*(pair.job(t, t, **{**WHOLE, **more.get(t, {})}) for t in (name, *tables)))
        with pytest.raises(Refused) as caught:
            pair.open(new=True).plan(name)
        return str(caught.value).replace(f"{at}.", "")

    assert "orders -> parts (ON DELETE CASCADE, of_order): deleting" in refused("orders", "notes")
    assert "orders -> notes (ON DELETE SET NULL, on_order): del" in refused("orders", "parts")
    assert "customers -> notes (ON DELETE CASCADE, on_customer)" in refused("customers", "orders")
    # Copied is not enough: no receipt is made of what is not purged.
    keeps = {"parts": {"purge": "none"}}
    assert "no job of the task purges" in refused("orders", "notes", "parts", **keeps)
    # By a table that is purged to one that is not.
    pair.source.execute(
        "CREATE TABLE tags (id int PRIMARY KEY, note int, CONSTRAINT of_note FOREIGN KEY (note) "
        "REFERENCES notes (id) ON DELETE CASCADE)"
    )
    path = "customers -> notes -> tags (ON DELETE CASCADE, of_note)"
    assert path in refused("customers", "notes", "orders", "parts")
    pair.source.execute(
        "ALTER TABLE customers ADD COLUMN latest int NULL",
        "ALTER TABLE customers ADD CONSTRAINT of_latest FOREIGN KEY (latest) "
        "REFERENCES orders (id)",
    )
    why = refused("orders", "parts", "notes", "customers")
    assert "orders -> customers -> orders (of_customer): these tables" in why
    # Without customers among them there is no circle.
    pair.write(*(pair.job(t, t, **WHOLE) for t in ("orders", "parts", "notes", "tags")))
    assert pair.open(new=True).plan("orders").rows == 11


def test_rows_that_belong_to_those_of_another_job(pair: Pair) -> None:
    """By their parents' filter, which is asked again when they go; and the newest stays."""
    shop(pair)
    before = {table: rows(pair.source, table) for table in (*TABLES, "refunds")}
    customers = {
        "where": "id > :low AND name = '7'",
        "variables": {"low": 2},
        "keep_newest": {"by": "id", "per": ["name"]},
    }
    above = {"orders": "customers", "notes": "orders", "parts": "orders"}
    more = {name: {"belongs_to": parent} for name, parent in above.items()}
    jobs = {t: pair.job(t, t, batch_size=4, **WHOLE, **more.get(t, customers)) for t in TABLES}
    run = copied(pair, *jobs.values())
    found = {job.name: job.rows_written for job in run.summary().jobs}
    assert found == {"customers": 9, "orders": 9, "notes": 7, "parts": 16}
    # One is no customer of the job any more, when all is copied.
    pair.source.execute("UPDATE customers SET name = 'late' WHERE id = 5")
    # Whose parts are not taken for gone when all others of their batch are.
    pair.source.execute("DELETE FROM parts WHERE order_id = 6")
    (why,) = run.mark_deleted("parts", [2], "anna")
    assert why.rows == 2, str(why)
    run.purge("customers")
    assert {row[0] for row in rows(pair.source, "parts")} == {"1", "2", "5"}
    assert {row[0] for row in rows(pair.source, "notes")} == {"1", "2", "5"}
    assert {row[0] for row in rows(pair.source, "orders")} == {"1", "2", "5", "11"}
    # Of 3 and 6 a note is there, of 11 an order; 12 is the newest.
    stay = {"1", "2", "3", "5", "6", "11", "12"}
    assert {row[0] for row in rows(pair.source, "customers")} == stay
    # The rows themselves did not change.
    left = {"orders": "5", "notes": "5", "parts": "5,2"}
    assert {kept(run, name)[key] for name, key in left.items()} == {"no longer matches the filter"}
    for table in TABLES:
        there = rows(pair.source, table) | rows(pair.target, table)
        assert there - {("5", "105", "late")} == before[table]
    stayed = {j.name: j.rows_kept for j in run.finish().jobs}
    assert stayed == {"customers": 4, "orders": 2, "notes": 1, "parts": 2}
    # There has to be a key, and nothing is planned without.
    jobs["parts"]["belongs_to"] = "customers"
    pair.write(*jobs.values())
    with pytest.raises(ConfigError, match=r"parts has no foreign key that refers to \S*customers"):
        pair.open(new=True).plan("parts")


def test_by_hand_too(pair: Pair) -> None:
    """In the order of the keys among the jobs that were asked for; no other is purged for them."""
    shop(pair)
    by_hand = {**WHOLE, "purge": "manual"}
    run = copied(pair, *(pair.job(table, table, **by_hand) for table in TABLES))
    order = in_purge_order(run.task, TABLES, run.open_store)
    assert order.index("customers") == 3
    assert order.index("orders") == 2
    assert in_purge_order(run.task, ["orders"], run.open_store) == ["orders"]
    found = run.purge("orders")
    # Each of the others has a part.
    assert (found.rows_purged, found.rows_kept) == (0, 11)
    assert len(rows(pair.source, "parts")) == 20


def test_what_a_role_has_to_see(bench: Bench[Database]) -> None:
    """The keys of partitioned and deferring children, too; and the counts of what was changed."""
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE TABLE c (id int, t int CONSTRAINT put_off REFERENCES t DEFERRABLE INITIALLY "
        "DEFERRED) PARTITION BY RANGE (id)",
        "CREATE TABLE c1 PARTITION OF c DEFAULT",
        "INSERT INTO t SELECT generate_series(1, 9)",
        "INSERT INTO c VALUES (1, 4)",
    )
    bench.write(bench.job(**WHOLE))
    grants = "GRANT USAGE ON SCHEMA public TO hunter", "GRANT SELECT, DELETE ON t TO hunter"
    with as_role(bench, *grants):
        with pytest.raises(Refused, match=r"GRANT SELECT ON public\.c TO"):
            bench.open().plan("copy")
        bench.source.execute("GRANT SELECT (t) ON c TO hunter")
        run = bench.open(new=True)
        run.plan("copy")
        found = done(run).purge("copy")
        assert (found.rows_purged, found.rows_kept) == (8, 1)
        assert kept(run, "copy") == {"4": "public.c still refers to it (put_off)"}
        bench.source.execute(
            "ALTER ROLE hunter SET track_counts = off",
            "CREATE TABLE d (t int REFERENCES t ON DELETE CASCADE)",
            "GRANT SELECT ON d TO hunter",
        )
        bench.write(bench.job(**WHOLE), bench.job("d", "public.d", **WHOLE))
        with pytest.raises(Refused, match="track_counts = off"):
            bench.open(new=True).plan("copy")


def tree(pair: Pair, action: str, edges: dict[int, int | None], batch: int = 3) -> TaskRun:
    pair.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, up int, v varchar(9))",
        filled("t", ((n, up, 7) for n, up in edges.items())),
        "ALTER TABLE t ADD CONSTRAINT of_itself FOREIGN KEY (up) REFERENCES t (id) "
        f"ON DELETE {action}",
    )
    return copied(pair, pair.job("t", "t", batch_size=batch, **WHOLE))


@pytest.mark.parametrize("action", ["CASCADE", "NO ACTION"])
def test_a_table_that_refers_to_itself(pair: Pair, action: str) -> None:
    """Chains over batches both ways, a circle in a batch, and a chain that a changed row holds."""
    up = {n: n - 1 if n > 1 else None for n in range(1, 11)}
    down = {n: n + 1 if n < 20 else None for n in range(11, 21)}
    circle = {22: 24, 23: 22, 24: 23}
    held: dict[int, int | None] = {25: None, 26: 25, 27: 26, 28: 25}
    run = tree(pair, action, {**up, **down, 21: None, **circle, **held})
    before = rows(pair.source, "t")
    pair.source.execute("UPDATE t SET v = 'late' WHERE id = 27")
    found = run.purge("t")
    assert rows(pair.source, "t") == {("25", "None", "7"), ("26", "25", "7"), ("27", "26", "late")}
    assert rows(pair.target, "t") == before
    assert (found.rows_purged, found.rows_kept) == (25, 3)
    assert "t still refers to it (of_itself)" in kept(run, "t")["25"]


# Others at the same time


def session(pair: Pair) -> Any:
    if isinstance(pair.source, Database):
        return psycopg.connect(pair.source.uri, autocommit=True)
    return MySQLdb.connect(**pair.source.arguments, autocommit=True)


def execute(connection: Any, statement: str) -> None:
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(statement)


FAILS = (psycopg.Error, MySQLdb.Error)
FAMILY = """
CREATE TABLE p (id int PRIMARY KEY, code int NOT NULL UNIQUE, v int);
CREATE TABLE c (id int PRIMARY KEY, p int, code int,
  CONSTRAINT of_p FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE,
  CONSTRAINT of_code FOREIGN KEY (code) REFERENCES p (code) ON DELETE CASCADE)
"""


def family(pair: Pair, count: int, **more: Any) -> TaskRun:
    pair.source.execute(*FAMILY.split(";"), filled("p", ((n, n, 7) for n in range(count))))
    jobs = [pair.job(table, table, **WHOLE, **more) for table in ("p", "c")]
    return copied(pair, *jobs)


@pytest.mark.parametrize(
    ("column", "look", "past"),
    [
        ("p", "held", True),
        ("code", "refers", True),
        ("code", "held", False),
        pytest.param("p", "held", False, marks=pytest.mark.soak),
        pytest.param("p", "refers", False, marks=pytest.mark.soak),
        pytest.param("p", "refers", True, marks=pytest.mark.soak),
        pytest.param("code", "held", True, marks=pytest.mark.soak),
        pytest.param("code", "refers", False, marks=pytest.mark.soak),
    ],
)
def test_a_child_that_comes_between_the_look_and_the_delete(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, column: str, look: str, past: bool
) -> None:
    """By its key or past it, while a batch goes as a whole (``refers``) or by its keys."""
    run = family(pair, 4)
    postgres, other = isinstance(pair.source, Database), session(pair)
    came: list[BaseException | None] = []
    begun: list[threading.Thread] = []

    def insert() -> None:
        try:
            execute(other, f"INSERT INTO c (id, {column}) VALUES (1, 2)")
            came.append(None)
        except FAILS as error:
            came.append(error)

    if past:
        off = "session_replication_role = replica" if postgres else "foreign_key_checks = 0"
        execute(other, f"SET {off}")
    if look == "held":
        # One row differs, so that no batch goes as a whole.
        pair.source.execute("UPDATE p SET code = 77 WHERE id = 0")
    guard: Any = PgGuard if postgres else MyGuard
    plain = getattr(guard, look)

    def late(self: Any, *args: Any) -> Any:
        found = plain(self, *args)
        if not begun:
            begun.append(threading.Thread(target=insert))
            begun[0].start()
            begun[0].join(0.5)
        return found

    monkeypatch.setattr(guard, look, late)
    run.purge("p")
    begun[0].join(20)
    other.close()
    (error,) = came
    # Whoever was told that it is there finds it there.
    assert rows(pair.source, "c") == (set() if error else {row_of(column)})
    parents = {row[0] for row in rows(pair.source, "p")}
    stays = {"0"} if look == "held" else set()
    if postgres or not past:
        # No row of a session that minds its keys refers to nothing.
        assert parents == stays | (set() if error else {"2"})
    assert parents >= stays


def row_of(column: str) -> tuple[str, ...]:
    return ("1", "2", "None") if column == "p" else ("1", "None", "2")


def test_children_that_come_all_the_time(pair: Pair) -> None:
    """Every child that was committed is there in the end, and so is what it refers to."""
    run = family(pair, 400, batch_size=40)
    chance, stop = random.Random(7), threading.Event()
    committed: list[tuple[int, int, int]] = []

    def work(first: int) -> None:
        with contextlib.closing(session(pair)) as connection:
            number = first
            while not stop.is_set():
                number += 2
                one, two = chance.randrange(400), chance.randrange(400)
                with contextlib.suppress(*FAILS):
                    execute(connection, f"INSERT INTO c VALUES ({number}, {one}, {two})")
                    committed.append((number, one, two))

    threads = [threading.Thread(target=work, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    try:
        run.purge("p")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert rows(pair.source, "c") == {tuple(map(str, one)) for one in committed}
    standing = {int(row[0]) for row in rows(pair.source, "p")}
    assert {n for _, one, two in committed for n in (one, two)} <= standing
    assert rows(pair.target, "p") == {(str(n), str(n), "7") for n in range(400)}

"""Rows are read in a thread of their own: it ends with the call, whatever happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from dsp_airflow.engine.archive.forms import form_of
from dsp_airflow.engine.errors import BadValue, Transient
from dsp_airflow.engine.model import Field, KeyRange, Projection
from dsp_airflow.engine.ports import ReadsArrow, Session
from tests.s3.values import MAX_ROW, snapshot
from tests.servers import Database
from tests.unit.engine.nasty import typed

ROWS = 100_000
"""Of 200 bytes: several record batches, and more than are read ahead."""
NAME = "dsp-ahead"
SLOW = f"v || CASE WHEN id = {ROWS} THEN pg_sleep(60)::text ELSE '' END"


@pytest.fixture
def table(pg_db: Database) -> Database:
    pg_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        f"INSERT INTO t SELECT n, repeat(md5(n::text), 6) FROM generate_series(1, {ROWS}) n",
    )
    return pg_db


@contextmanager
def reading(session: Session, value: str = "v") -> Iterator[Generator[Any, None, None]]:
    assert isinstance(session, ReadsArrow)
    fields = (
        Field("id", typed("int32"), "integer", "id"),
        Field("v", typed("string"), "text", value),
    )
    forms = tuple(form_of(f.column, f.type, f.native) for f in fields)
    what = Projection('"t"', "t", fields, ())
    with closing(
        session.arrow(what, KeyRange(), forms, exact=False, max_row_size=MAX_ROW)
    ) as batches:
        yield batches


def fail(session: Session, after: float = 0.0, value: str = "v") -> None:
    """Leaves with an error after the first batch, as an upload would that failed."""
    with reading(session, value) as batches:
        next(batches)
        time.sleep(after)
        raise ZeroDivisionError


def read(session: Session, value: str = "v") -> int:
    with reading(session, value) as batches:
        return sum(batch.num_rows for batch in batches)


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == NAME]


def others(database: Database) -> int:
    """Sessions of clients on the database (vacuum has its own), beside the one that asks."""
    query = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    )
    return int(database.value(query))


def gone(database: Database, left: int) -> bool:
    """Whether no more sessions than these are left; a server needs a moment."""
    give_up = time.monotonic() + 10
    while others(database) > left and time.monotonic() < give_up:
        time.sleep(0.05)
    return others(database) == left


def test_everything_is_read_and_the_connection_is_kept(table: Database) -> None:
    with snapshot(table) as session:
        for _ in range(2):
            assert read(session) == ROWS
            assert threads() == []
            assert others(table) == 2


def test_who_fails_while_rows_are_read(table: Database) -> None:
    with snapshot(table) as session:
        with pytest.raises(ZeroDivisionError):
            fail(session)
        assert threads() == []
        assert gone(table, 1)
        # The session is as good as before.
        assert read(session) == ROWS


def test_who_fails_while_the_server_takes_its_time(table: Database) -> None:
    """The statement is cancelled; nobody waits for it."""
    began = time.monotonic()
    with snapshot(table) as session:
        with pytest.raises(ZeroDivisionError):
            fail(session, 1.0, SLOW)
        assert threads() == []
        assert gone(table, 1)
    assert time.monotonic() - began < 20


def test_an_error_in_the_middle(table: Database) -> None:
    with snapshot(table) as session:
        with pytest.raises(BadValue, match="division by zero"):
            read(session, f"v || (1 / (id - {ROWS - 1}))::text")
        assert threads() == []
        assert gone(table, 1)


def test_a_connection_that_is_cut_in_the_middle(table: Database) -> None:
    def cut() -> None:
        time.sleep(1)
        table.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE '%pg_sleep(60)%' "
            "AND pid <> pg_backend_pid()"
        )

    with snapshot(table) as session:
        helper = threading.Thread(target=cut)
        helper.start()
        with pytest.raises(Transient):
            read(session, SLOW)
        helper.join()
        assert threads() == []

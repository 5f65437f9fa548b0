"""How a copy looks at a source that others work on, under each isolation level."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.stores.mysql.store import MySqlSession
from dsp_airflow.state.records import JobSummary
from dsp_airflow.steps import TaskRun
from tests.faults.tables import changing, fill, remember, rows_of
from tests.mysql.pairs import Pair
from tests.mysql.test_values import named, pair

__all__ = ["pair"]

LEVELS = ("read_uncommitted", "read_committed", "repeatable_read", "serializable")
HERE = [("mariadb", "mariadb"), ("mysql", "mysql")]
ROWS = 400
AWAY = 10_000
"""Where the application moves rows that it brings back: behind the end of the last batch."""
every_level = pytest.mark.parametrize("isolation", LEVELS)


def planned(pair: Pair, isolation: str, rows: int, **more: Any) -> TaskRun:
    """A table of that many rows and a planned run over it, under an isolation level."""
    fill(pair.source, rows)
    given = {"check": {"percent": 100}, "purge": "system", "isolation": isolation, **more}
    pair.write(pair.job(**given))
    run = pair.open()
    run.plan("copy")
    return run


@named(HERE)
@every_level
def test_rows_that_change_between_digest_and_read(
    pair: Pair, isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has what was digested; what changed is kept and told apart from damage."""
    run = planned(pair, isolation, 100)
    changes = (
        "UPDATE t SET name = 'changed' WHERE id = 7",
        "DELETE FROM t WHERE id = 8",
        "UPDATE t SET id = -9 WHERE id = 9",
        "INSERT INTO t (id, name) VALUES (0, 'new')",
    )
    digest, came = MySqlSession.digest, list[bool]()

    def then_change(self: MySqlSession, *args: Any, **more: Any) -> Any:
        found = digest(self, *args, **more)
        monkeypatch.setattr(MySqlSession, "digest", digest)
        with changing(pair.source, impatient=True) as session:
            came.extend(session.change(statement) for statement in changes)
        return found

    monkeypatch.setattr(MySqlSession, "digest", then_change)
    before = rows_of(pair.source)
    run.copy("copy")
    # What is locked while it is read does not change.
    assert came == [isolation != "serializable"] * 4
    assert rows_of(pair.target) == before
    if isolation == "serializable":
        pair.source.execute(*changes)
    checked = run.check("copy")
    assert (checked.rows_checked, checked.rows_different) == (100, 0)
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (97, 3)
    assert [row[:2] for row in rows_of(pair.source)] == [
        (-9, "name 9"),
        (0, "new"),
        (7, "changed"),
    ]
    reported = {d.difference.key for d in run.runs.differences(run.run.id)}
    assert reported == {("-9",), ("0",), ("7",)}


@named(HERE)
def test_what_is_rolled_back_later_is_copied_and_not_purged(pair: Pair) -> None:
    """Under read_uncommitted, where rows are not compared; a purge tells what is not the same."""
    run = planned(pair, "read_uncommitted", 100, check={"percent": 1}, batch_size=50)
    (free,) = [batch for batch in run.runs.batches(run.run.id, "copy") if not batch.sampled]
    first = 50 * free.number - 49
    pair.source.execute(f"DELETE FROM t WHERE id = {first + 1}")
    with pair.source.connect() as connection:
        cursor: Any = connection.cursor()
        cursor.execute("BEGIN")
        cursor.execute(f"UPDATE t SET name = 'never' WHERE id = {first}")
        cursor.execute(f"INSERT INTO t (id, name) VALUES ({first + 1}, 'never')")
        cursor.execute(f"DELETE FROM t WHERE id = {first + 2}")
        assert run.copy("copy").rows_written == 99
        cursor.execute("ROLLBACK")
    there = {row[0]: row[1] for row in rows_of(pair.target)}
    assert [there.get(first + n) for n in range(3)] == ["never", "never", None]
    run.check("copy")
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (97, 2)
    assert [row[0] for row in rows_of(pair.source)] == [first, first + 2]


@contextmanager
def busy(pair: Pair) -> Iterator[None]:
    """Two sessions change, move, add and remove rows of the source without a break."""
    stop, failed = threading.Event(), list[BaseException]()

    def work(own: int) -> None:
        chance = random.Random(own)
        try:
            with changing(pair.source) as session:
                while not stop.is_set():
                    row = 2 * chance.randint(1, ROWS // 2) - own
                    if chance.random() < 0.1:
                        session.change("UPDATE t SET name = CONCAT(name, '.') WHERE id = %s", row)
                    # Several rows, backwards: whoever locks them forwards may meet it half-way.
                    backwards = "WHERE id BETWEEN %s AND %s ORDER BY id DESC"
                    session.change(f"UPDATE t SET amount = amount {backwards}", row, row + 30)
                    session.change(f"UPDATE t SET id = id + {AWAY} WHERE id = %s", row)
                    session.change(f"UPDATE t SET id = id - {AWAY} WHERE id = %s", row + AWAY)
                    session.change("INSERT IGNORE INTO t (id, name) VALUES (%s, 'new')", -row)
                    session.change("DELETE FROM t WHERE id = %s", -chance.randint(1, ROWS))
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    threads = [threading.Thread(target=work, args=[own]) for own in (0, 1)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed


@named(HERE)
@pytest.mark.parametrize(
    "isolation",
    [
        *("read_uncommitted", "serializable"),
        *(pytest.param(level, marks=pytest.mark.soak) for level in LEVELS[1:3]),
    ],
)
def test_a_busy_source_raises_no_alarm_and_loses_no_row(pair: Pair, isolation: str) -> None:
    fill(pair.source, ROWS)
    remember(pair.source)
    job = pair.job(isolation=isolation, check={"percent": 50}, purge="system", batch_size=50)
    pair.write({**job, "workers": 3, "accept_triggers": ["log_deleted"]})
    run = pair.open()
    run.plan("copy")
    with busy(pair):
        through(run.copy)
        through(run.check)
        found = through(run.purge)
    assert found.rows_different == 0
    left = {row[0] for row in rows_of(pair.source)}
    target = {row[0]: row for row in rows_of(pair.target)}
    # Rows below 1 are the application's own, who deletes them, too.
    deleted = [row for row in rows_of(pair.source, "deleted") if row[0] > 0]
    assert len(deleted) == len({row[0] for row in deleted})
    assert [row for row in deleted if target.get(row[0]) != row] == []
    gone = {row[0] for row in deleted}
    assert gone
    assert {n for n in range(1, ROWS + 1) if not {n, n + AWAY} & (left | gone)} == set()
    assert found.rows_purged >= len(deleted)


def through(step: Callable[[str], JobSummary]) -> JobSummary:
    """As Airflow does: an error that passes is retried."""
    for _ in range(20):
        try:
            return step("copy")
        except Transient:
            continue
    return step("copy")

"""How a copy looks at a source that others work on, and what its verdict is worth then."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.stores.postgres import PostgresSession
from dsp_airflow.engine.stores.postgres.purge import PostgresPurge
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.steps import TaskRun
from tests.engine.scenes import ROWS, SMALL, Db, done, small

ISOLATIONS = ("read_committed", "repeatable_read")
both = pytest.mark.parametrize("isolation", ISOLATIONS)
OURS = "application_name = 'dsp:task:copy:copy' AND datname = current_database()"


@both
def test_a_change_between_digest_and_copy_is_no_false_alarm(
    bench: Db, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    """A sampled batch is digested and read; somebody changes, adds and removes rows in between."""
    run = small(bench, isolation=isolation)
    digest = PostgresSession.digest

    def then_change(self: PostgresSession, *args: Any, **more: Any) -> Any:
        found = digest(self, *args, **more)
        monkeypatch.setattr(PostgresSession, "digest", digest)
        bench.source.execute(
            "UPDATE t SET v = 'changed' WHERE id = 7",
            "DELETE FROM t WHERE id = 8",
            "INSERT INTO t VALUES (0, true, 'new')",
        )
        return found

    monkeypatch.setattr(PostgresSession, "digest", then_change)
    run.copy("copy")
    found = run.check("copy")
    assert (found.rows_checked, found.rows_different) == (100, 0)
    assert bench.target.value("SELECT v FROM t WHERE id = 7") == "v7"


@both
def test_a_change_between_digest_and_copy_hides_no_damage(
    bench: Db, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    """The same, and then somebody spoils a row of the target."""
    test_a_change_between_digest_and_copy_is_no_false_alarm(bench, monkeypatch, isolation)
    bench.target.execute("UPDATE t SET v = 'spoiled' WHERE id = 50")
    with pytest.raises(Mismatch, match="1 rows differ"):
        bench.latest().check_again("copy")


@pytest.mark.parametrize("check", ["none", {"percent": 1}])
@both
def test_when_the_source_is_let_go(
    bench: Db, monkeypatch: pytest.MonkeyPatch, isolation: str, check: Any
) -> None:
    """Its view of the table holds back vacuum for as long as it lasts."""
    run = small(bench, isolation=isolation, check=check, purge="none", batch_size=50)
    seen: list[tuple[Any, ...]] = []
    keep = SqlLedger.keep

    def at_the_fence(self: SqlLedger, claim: Any) -> None:
        """The target has written, and has not committed yet."""
        seen.extend(
            bench.source.rows(
                f"SELECT state, backend_xmin IS NOT NULL FROM pg_stat_activity WHERE {OURS}"
            )
        )
        keep(self, claim)

    monkeypatch.setattr(SqlLedger, "keep", at_the_fence)
    run.copy("copy")
    held, free = ("idle in transaction", True), ("idle", False)
    sampled = [batch.sampled for batch in run.runs.batches(run.run.id, "copy")]
    assert len(sampled) == 2
    assert seen == [held if s or isolation == "repeatable_read" else free for s in sampled]


def test_a_change_just_before_an_undigested_batch_is_read(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the horizon and the read: the copy has the new row, and nobody can say since when."""
    run = small(bench, isolation="read_committed", check={"percent": 1}, batch_size=50)
    horizon = PostgresSession.horizon
    (free,) = [b.number for b in run.runs.batches(run.run.id, "copy") if not b.sampled]
    row = free * 50

    def then_change(self: PostgresSession) -> str | None:
        mark = horizon(self)
        bench.source.execute(f"UPDATE t SET v = 'changed' WHERE id = {row}")
        return mark

    monkeypatch.setattr(PostgresSession, "horizon", then_change)
    run.copy("copy")
    assert bench.target.value(f"SELECT v FROM t WHERE id = {row}") == "changed"
    found = run.check_again("copy", 100)
    assert (found.rows_checked, found.rows_different) == (100, 0)
    # Spoiled, it is not called compared; any other row of the batch is called different.
    bench.target.execute(f"UPDATE t SET v = 'spoiled' WHERE id = {row}")
    found = run.check_again("copy", 100)
    assert (found.rows_checked, found.rows_different) == (99, 0)
    bench.target.execute(f"UPDATE t SET v = 'spoiled' WHERE id = {row - 1}")
    with pytest.raises(Mismatch, match="1 rows differ"):
        run.check_again("copy", 100)


@contextmanager
def busy(bench: Db) -> Iterator[None]:
    """Others change, add and remove rows of the source without a break."""
    stop = threading.Event()

    def work() -> None:
        with bench.source.connect() as connection:
            n = 0
            while not stop.is_set():
                n += 1
                connection.execute("UPDATE t SET v = v || '.' WHERE id = %s", (1 + n * 37 % 600,))
                connection.execute("DELETE FROM t WHERE id = %s", (2 + 2 * (n * 101 % 300),))
                connection.execute(
                    "INSERT INTO t VALUES (%s, false, 'again') ON CONFLICT DO NOTHING",
                    (2 + 2 * (n * 101 % 300),),
                )

    writers = [threading.Thread(target=work) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def crowded(bench: Db, isolation: str, percent: float) -> TaskRun:
    bench.source.execute(SMALL, ROWS.format(600))
    check = {"percent": percent}
    bench.write(
        bench.job(check=check, purge="system", batch_size=30, workers=3, isolation=isolation)
    )
    run = bench.open()
    run.plan("copy")
    return run


@pytest.mark.parametrize("percent", [10, 100])
@both
def test_a_busy_source_raises_no_alarm_and_loses_no_row(
    bench: Db, isolation: str, percent: float
) -> None:
    run = crowded(bench, isolation, percent)
    with busy(bench):
        done(run)
        found = run.purge("copy")
    assert (found.rows_different, found.state) == (0, "succeeded")
    # What was purged stands in the target; what was not still stands in the source.
    left = {row[0] for row in bench.source.rows("SELECT id FROM t")}
    there = {row[0] for row in bench.target.rows("SELECT id FROM t")}
    assert left | there == set(range(1, 601))
    assert len(left) >= 600 - found.rows_purged


@both
def test_damage_in_the_target_is_found_while_the_source_is_busy(bench: Db, isolation: str) -> None:
    run = crowded(bench, isolation, 100)
    with busy(bench):
        run.copy("copy")
        bench.target.execute("UPDATE t SET v = 'spoiled' WHERE id = 433")
        with pytest.raises(Mismatch):
            run.check("copy")


@both
def test_a_purge_has_its_own_isolation(
    bench: Db, monkeypatch: pytest.MonkeyPatch, isolation: str
) -> None:
    """A row changes after the purge has looked at the batch: it stays, whatever the job says."""
    run = done(small(bench, isolation=isolation))
    take = PostgresPurge.take
    levels: list[str] = []

    def late(self: PostgresPurge, *args: Any) -> Any:
        execute = self._connection.execute

        def changing(statement: Any, *values: Any) -> Any:
            if b"DELETE" in bytes(statement):
                bench.source.execute("UPDATE t SET v = 'last' WHERE id = 7")
                levels.append(execute("SHOW transaction_isolation").fetchall()[0][0])
                monkeypatch.setattr(self._connection, "execute", execute)
            return execute(statement, *values)

        monkeypatch.setattr(self._connection, "execute", changing)
        return take(self, *args)

    monkeypatch.setattr(PostgresPurge, "take", late)
    found = run.purge("copy")
    assert levels == ["repeatable read"]
    assert (found.rows_purged, found.rows_kept) == (99, 1)
    assert bench.source.rows("SELECT id, v FROM t") == [(7, "last")]

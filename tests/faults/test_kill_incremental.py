"""SIGKILL at random moments of incremental runs, while an application goes on changing rows.

What must hold afterwards: the target has every row of the source as it is now, and nothing that
never stood there. Rows deleted in the source stay in the target: that is what the mode promises.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.engine.harness import Bench
from tests.faults.test_kill import processes
from tests.faults.work import whole
from tests.servers import Database
from tests.share import share

RUNS = share(200, 20)
AT_ONCE = share(10_000, 1_000)
"""Rows of one instant."""
LATE = 40
"""Steps of the clock that a transaction may hold back; the overlap covers them."""
PATIENCE = 120.0

# The clock stands still for three steps, and passes the hour that Berlin has twice.
SETUP = [
    "CREATE TABLE t (id bigint PRIMARY KEY, at timestamptz, v text)",
    "CREATE TABLE history (id bigint, row text)",
    "CREATE SEQUENCE steps",
    """CREATE FUNCTION stamp() RETURNS timestamptz LANGUAGE sql AS
       $$SELECT timestamptz '2026-10-25 00:59:55+00'
                + (nextval('steps') / 3) * interval '20ms 1us'$$""",
    """CREATE FUNCTION remember() RETURNS trigger LANGUAGE plpgsql SET TimeZone = 'UTC' AS
       'BEGIN INSERT INTO history VALUES (NEW.id, NEW::text); RETURN NULL; END'""",
    """CREATE TRIGGER remember AFTER INSERT OR UPDATE ON t FOR EACH ROW
       EXECUTE FUNCTION remember()""",
]


class Application:
    """Changes rows from a thread of its own; some of its transactions commit late."""

    def __init__(self, bench: Bench[Database], chance: random.Random) -> None:
        self._bench = bench
        self._chance = chance
        self._late: list[tuple[psycopg.Connection, int]] = []
        self._last = 0

    @contextmanager
    def working(self) -> Iterator[None]:
        """Until the end of the block; then everything is committed."""
        stop, failed = threading.Event(), []

        def work() -> None:
            try:
                while not stop.is_set():
                    self._change()
                    stop.wait(0.01)
            except psycopg.Error as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._commit(2**62)
        assert not failed

    def _change(self) -> None:
        connection = self._bench.source.connect()
        connection.execute("SET TimeZone = 'Europe/Berlin'")
        connection.execute("BEGIN")
        connection.execute("SET LOCAL lock_timeout = '50ms'")
        try:
            self._statement(connection)
        except psycopg.errors.LockNotAvailable:
            connection.close()
            return
        step = self._step()
        if self._chance.random() < 0.2 and len(self._late) < 5:
            self._late.append((connection, step))
        else:
            connection.execute("COMMIT")
            connection.close()
        self._commit(step - LATE // 2)

    def _statement(self, connection: psycopg.Connection) -> None:
        luck = self._chance.random()
        row = self._chance.randrange(1, self._last + 2)
        at = "NULL::timestamptz" if self._chance.random() < 0.05 else "stamp()"
        if luck < 0.01:
            first, self._last = self._last + 1, self._last + AT_ONCE
            connection.execute(
                f"INSERT INTO t SELECT n, s.at, 'many' FROM (SELECT {at} AS at) s, "
                f"generate_series({first}, {self._last}) n"
            )
        elif luck < 0.5:
            self._last += 1
            connection.execute(f"INSERT INTO t VALUES ({self._last}, {at}, 'new')")
        elif luck < 0.85:
            connection.execute(f"UPDATE t SET at = {at}, v = v || '.' WHERE id = {row}")
        else:
            connection.execute(f"DELETE FROM t WHERE id = {row}")

    def _step(self) -> int:
        return int(self._bench.source.value("SELECT last_value FROM steps"))

    def _commit(self, upto: int) -> None:
        for connection, began in list(self._late):
            if began <= upto:
                connection.execute("COMMIT")
                connection.close()
                self._late.remove((connection, began))


def killed_runs(bench: Bench[Database], chance: random.Random) -> tuple[int, int]:
    """Runs one after the other; how many were killed, and how many came to their end."""
    kills = ends = 0
    for _ in range(RUNS):
        process = processes.Process(
            target=whole,
            args=(bench.folder, bench.source.uri, bench.target.uri, chance.random() < 0.5),
        )
        process.start()
        process.join(chance.uniform(0.2, 1.5) if chance.random() < 0.7 else PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        ends += process.exitcode == 0
    return kills, ends


@pytest.mark.share
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(share(2, 1)))
def test_incremental_runs_killed_at_random_moments(bench: Bench[Database], seed: int) -> None:
    chance = random.Random(seed)
    bench.source.execute(*SETUP)
    cursor = {"column": "at", "overlap": "1s", "null_cursor": "include"}
    bench.write(bench.job(mode="incremental", cursor=cursor, batch_size=500, check={"percent": 50}))
    with Application(bench, random.Random(seed + 100)).working():
        kills, ends = killed_runs(bench, chance)
    print(f"{RUNS} runs: {kills} killed, {ends} through")  # noqa: T201
    assert kills
    assert ends
    bench.run()
    bench.run(new=True)
    source = dict(bench.source.rows("SELECT id, t::text FROM t"))
    target = dict(bench.target.rows("SELECT id, t::text FROM t"))
    assert {n: target.get(n) for n in source} == source
    versions = set(bench.source.rows("SELECT id, row FROM history"))
    assert set(target.items()) <= versions

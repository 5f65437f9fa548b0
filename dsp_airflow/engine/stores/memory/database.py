"""What all sessions of a store share, and the connection that may break."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from dsp_airflow.engine.errors import DspError, Transient
from dsp_airflow.engine.model import Shape, Written
from dsp_airflow.engine.ports import Dialect, Outcome
from dsp_airflow.engine.stores.memory.dialect import MemoryDialect, Name, position, split_name
from dsp_airflow.engine.stores.memory.tables import Table, Version
from dsp_airflow.engine.stores.memory.turns import Turns
from dsp_airflow.engine.stores.memory.values import Row


class Killed(BaseException):
    """The process died here: no handler of errors may catch it."""


@dataclass
class Failure:
    """One that was ordered and is not due yet."""

    after: int
    error: DspError
    kill: bool
    committed: bool


POINTS: Final = frozenset(
    {"session", "describe", "split", "snapshot", "read", "digest", "count", "hashes", "texts"}
    | {"create", "write", "take", "take_keys", "commit"}
)
"""Where a failure can be ordered. ``read`` counts rows, the others count calls."""


class Database:
    """Tables, row locks, markers, outcomes of purges, and the failures that were ordered."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.identity = f"memory/{name}"
        self.dialect: Dialect = MemoryDialect()
        self.may_mark = True
        self.guard = threading.RLock()
        self.tables: dict[Name, Table] = {}
        self.markers: dict[str, dict[tuple[str, str, int], Written]] = {}
        self.marker_locks: dict[tuple[str, str, int], threading.Lock] = {}
        self.locks: dict[tuple[Name, int], object] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.version = 0
        self.numbers = itertools.count(1)
        self._failures: dict[str, Failure] = {}
        self._turns: dict[Name, Turns] = {}

    # What tests do to the data, as somebody else's committed transactions.

    def add_table(
        self,
        shape: Shape,
        rows: Iterable[Row] = (),
        *,
        purge_refusals: Iterable[str] = (),
        target_refusals: Iterable[str] = (),
    ) -> None:
        """Creates a table."""
        with self.guard:
            table = Table(shape, {}, list(purge_refusals), list(target_refusals))
            self.tables[shape.schema, shape.name] = table
            self.insert(self.dialect.qualified(shape), rows)

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        """Adds rows, each with all columns in order."""
        with self.guard:
            found = self.tables[split_name(table)]
            self.version += 1
            found.rows |= {next(self.numbers): Version(tuple(r), self.version) for r in rows}

    def update(self, table: str, key: Row, **values: Any) -> None:
        """Changes one row; ``Transient`` while a purge has locked it."""
        with self.guard:
            name, found, number = self._locate(table, key)
            row = list(found.rows[number].values)
            for column, value in values.items():
                row[position(found.shape, column)] = value
            self.refuse_locked(name, [number])
            self.version += 1
            found.rows[number] = Version(tuple(row), self.version)

    def delete(self, table: str, key: Row) -> None:
        """Removes one row; ``Transient`` while a purge has locked it."""
        with self.guard:
            name, found, number = self._locate(table, key)
            self.refuse_locked(name, [number])
            self.version += 1
            del found.rows[number]

    def rows(self, table: str) -> list[Row]:
        """All rows, in key order where there is a key."""
        with self.guard:
            found = self.tables[split_name(table)]
            at = [position(found.shape, name) for name in found.shape.key]
            rows = [version.values for version in found.rows.values()]
        return sorted(rows, key=lambda row: tuple(row[n] for n in at))

    def _locate(self, table: str, key: Row) -> tuple[Name, Table, int]:
        name = split_name(table)
        found = self.tables[name]
        at = [position(found.shape, column) for column in found.shape.key]
        for number, version in found.rows.items():
            if tuple(version.values[n] for n in at) == tuple(key):
                return name, found, number
        raise KeyError(key)

    def turns(self, table: str) -> Turns:
        """Who writes into a table, and who proves by it."""
        with self.guard:
            return self._turns.setdefault(split_name(table), Turns())

    def refuse_locked(
        self, name: Name, numbers: Iterable[int], holder: object | None = None
    ) -> None:
        """``Transient`` when another purge has locked one of these rows."""
        for number in numbers:
            if self.locks.get((name, number), holder) is not holder:
                raise Transient(f"{'.'.join(name)}: a row is locked by another transaction")

    # Failures

    def fail(
        self,
        point: str,
        after: int = 0,
        error: DspError | None = None,
        *,
        kill: bool = False,
        committed: bool = False,
    ) -> None:
        """Orders one failure at a point, once ``after`` calls (rows, for ``read``) went well.

        ``kill`` raises ``Killed`` instead of the error. ``committed``: the transaction is
        committed, only its acknowledgement is lost (``write`` and ``commit``).
        """
        if point not in POINTS:
            raise ValueError(f"no point {point!r}; choose one of: {', '.join(sorted(POINTS))}")
        error = error or Transient(f"{self.name}: failure ordered at {point}")
        self._failures[point] = Failure(after, error, kill, committed)

    def passing(self, point: str, *, committed: bool = False) -> None:
        """Raises the failure ordered here, if it is due."""
        with self.guard:
            failure = self._failures.get(point)
            if failure is None or failure.committed is not committed:
                return
            if failure.after > 0:
                failure.after -= 1
                return
            del self._failures[point]
        if failure.kill:
            raise Killed(f"{self.name}: killed at {point}")
        raise failure.error


class Connection:
    """After an error of the ``Transient`` kind it is unusable."""

    def __init__(self, store: Database) -> None:
        self.store = store
        self._closed = False

    def close(self) -> None:
        """Rolls back what is open."""
        self._closed = True

    def passing(self, point: str, *, committed: bool = False) -> None:
        """A place where this connection may break."""
        if self._closed:
            raise Transient(f"{self.store.name}: the connection is closed")
        try:
            self.store.passing(point, committed=committed)
        except (Transient, Killed):
            self._closed = True
            raise

"""The open purge transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Digest, Key, KeyRange, Projection, RowHash
from dsp_airflow.engine.ports import Outcome
from dsp_airflow.engine.stores.memory.database import Connection
from dsp_airflow.engine.stores.memory.dialect import Name, split_name
from dsp_airflow.engine.stores.memory.tables import Version, View
from dsp_airflow.engine.stores.memory.values import Row


class MemoryPurge:
    """See ``ports.Purge``. A row that another purge has locked raises ``Transient`` at once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._store = connection.store
        self._token = f"purge-{next(self._store.numbers)}"
        self._held: dict[tuple[Name, int], Row] = {}
        self._doomed: set[tuple[Name, int]] = set()
        self._over = False
        self._store.outcomes[self._token] = "running"

    def take(
        self,
        what: Projection,
        within: KeyRange,
        locked: Callable[[Digest], None] | None = None,  # noqa: ARG002
    ) -> Digest:
        """Locks, digests and marks for deletion."""
        self._connection.passing("take")
        with self._store.guard:
            view, name, rows = self._hold(what, within)
            self._doomed |= {(name, number) for number, _ in rows}
            return view.digest(version.values for _, version in rows)

    def standing(self, name: Name, rows: list[tuple[int, Version]]) -> list[tuple[int, Version]]:
        """What this transaction itself still sees."""
        return [(number, version) for number, version in rows if (name, number) not in self._doomed]

    def undo(self) -> None:
        """Lets go of everything."""
        with self._store.guard:
            for held in self._held:
                self._store.locks.pop(held, None)
        self._held.clear()
        self._doomed.clear()

    def newest(self, what: Projection) -> Collection[Key]:  # noqa: ARG002
        """None: nothing is numbered here."""
        return ()

    def take_keys(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        """As ``take``, by key."""
        self._connection.passing("take_keys")
        with self._store.guard:
            view, name, rows = self._hold(what, None, set(keys))
            self._doomed |= {(name, number) for number, _ in rows}
            return [view.hashed(version, None) for _, version in rows]

    def settle(self) -> None:
        """Nothing is put off here."""

    def token(self) -> str:
        """Known to ``outcome``."""
        return self._token

    def commit(self) -> None:
        """Deletes what is marked."""
        self._connection.passing("commit")
        with self._store.guard:
            self._store.version += 1
            for name, number in self._doomed:
                del self._store.tables[name].rows[number]
            self._end("committed")
        self._connection.passing("commit", committed=True)

    def leave(self) -> None:
        """Rolls back unless committed."""
        if not self._over:
            self._end("aborted")

    def _end(self, outcome: Outcome) -> None:
        self._over = True
        self._store.outcomes[self._token] = outcome
        self.undo()

    def _hold(
        self, what: Projection, within: KeyRange | None, keys: Collection[Key] | None = None
    ) -> tuple[View, Name, list[tuple[int, Version]]]:
        name = split_name(what.table)
        table = self._store.tables.get(name)
        if table is None:
            raise ConfigError(f"{what.label} does not exist; it was dropped or renamed")
        view = View(table, what)
        rows = self.standing(name, view.select(table.rows, within))
        if keys is not None:
            rows = [row for row in rows if view.own_key(row[1].values) in keys]
        self._store.refuse_locked(name, [number for number, _ in rows], self)
        for number, version in rows:
            self._held[name, number] = version.values
            self._store.locks[name, number] = self
        return view, name, rows

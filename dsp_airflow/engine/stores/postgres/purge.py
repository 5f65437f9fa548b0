"""The open purge transaction on a PostgreSQL source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import psycopg

from dsp_airflow.engine.errors import Contended
from dsp_airflow.engine.model import Digest, Key, KeyRange, Projection, RowHash
from dsp_airflow.engine.ports import Outcome
from dsp_airflow.engine.stores.postgres import proof
from dsp_airflow.engine.stores.postgres.query import Connection, one
from dsp_airflow.engine.stores.postgres.references import Guard

OUTCOMES: dict[str | None, Outcome] = {
    "committed": "committed",
    "aborted": "aborted",
    "in progress": "running",
    None: "unknown",
}
# The lock comes before the snapshot, which thus shows every trigger and reference that there is;
# none can be added while it is held.
LOCK = "LOCK TABLE {table} IN ROW EXCLUSIVE MODE"
# One snapshot for what is digested and what is deleted: a row that somebody changes in between
# ends the transaction, and so does one that refers to these and is not in it.
WHOLE = f"ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE; {LOCK}"
# Every statement re-reads what was committed meanwhile: a row that changed while the lock
# was awaited is hashed, filtered and deleted as it is now.
BY_KEY = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


class PostgresPurge:
    """See ``ports.Purge``. Deleting is the lock: the rows are gone only after ``commit``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._guard: Guard | None = None
        self._referenced: dict[Key, str] = {}
        self.committed = False
        connection.execute(BY_KEY)

    def take(
        self,
        what: Projection,
        within: KeyRange,
        locked: Callable[[Digest], None] | None = None,  # noqa: ARG002
    ) -> Digest | None:
        """Digests, then deletes; twice as fast as one statement that does both."""
        self._connection.execute(WHOLE.format(table=what.table).encode())
        delete = f"DELETE FROM {what.table} WHERE {proof.condition(what, within)}".encode()
        deleted = [0]

        def act() -> int:
            deleted[0] = self._connection.execute(delete).rowcount
            return deleted[0]

        try:
            guard = Guard(self._connection, what.table)
            taken = proof.digest(self._connection, what, within)
            if guard.refers(what, within) or not guard.alone(act):
                return None
        except (psycopg.errors.SerializationFailure, psycopg.errors.ForeignKeyViolation):
            return None
        # A trigger may keep rows.
        return taken if deleted[0] == taken.rows else None

    def undo(self) -> None:
        """Rolls back and begins anew."""
        self._guard, self._referenced = None, {}
        self._connection.execute("ROLLBACK")
        self._connection.execute(BY_KEY)

    def newest(self, what: Projection) -> Collection[Key]:  # noqa: ARG002
        """None: a sequence remembers by itself."""
        return ()

    def referenced(self) -> Mapping[Key, str]:
        """See ``references.LeavesReferenced``."""
        return self._referenced

    def take_keys(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        """As ``take``, by the source's own key; needs no other privilege."""
        if self._guard is None:
            self._connection.execute(LOCK.format(table=what.table).encode())
            self._guard = Guard(self._connection, what.table)
        taken: list[RowHash] = []
        for arrays in proof.key_chunks(what, keys):
            taken += self._chunk(what, self._guard, arrays)
        return taken

    def _chunk(self, what: Projection, guard: Guard, arrays: list[list[str]]) -> list[RowHash]:
        matching, values, rows = proof.by_keys(what), [*arrays], list[tuple[Any, ...]]()
        held = guard.held(what, arrays)
        if held:
            self._referenced |= held
            (stay,) = proof.key_chunks(what, list(held))
            matching, values = f"{matching} AND NOT ({matching})", [*arrays, *stay]

        def act() -> int:
            rows[:] = self._connection.execute(
                f"DELETE FROM {proof.verbatim(what.table)} WHERE {matching} "
                f"RETURNING {proof.verbatim(proof.hash_columns(what, None))}",
                values,
            ).fetchall()
            return len(rows)

        try:
            if not guard.alone(act):
                raise Contended(_meanwhile(what, guard))
        except psycopg.errors.ForeignKeyViolation as error:
            if guard.links:
                raise Contended(_meanwhile(what, guard)) from error
            raise
        return [proof.as_hash(row, len(what.key)) for row in rows]

    def settle(self) -> None:
        """Deferred constraint triggers fire now."""
        self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def token(self) -> str:
        """The transaction's full 64-bit id."""
        row = one(self._connection, "SELECT pg_current_xact_id()::text")
        return str(row[0])

    def commit(self) -> None:
        """Makes the deletions final."""
        self._connection.execute("COMMIT")
        self.committed = True


def _meanwhile(what: Projection, guard: Guard) -> str:
    children = ", ".join(sorted({".".join(link.child) for link in guard.links}))
    return (
        f"{what.label}: rows that refer to rows being deleted came meanwhile, or a trigger changed "
        f"rows of {children}; nothing of this batch was deleted, retry"
    )


def outcome(connection: Connection, token: str) -> Outcome:
    """Asks the server's commit log; ``unknown`` when it reaches back no further."""
    try:
        row = connection.execute("SELECT pg_xact_status(%s::xid8)", (token,)).fetchone()
    except psycopg.errors.InvalidParameterValue:
        # An id from the future: the server was restored or failed over without that commit.
        return "aborted"
    return OUTCOMES.get(row[0] if row else None, "unknown")

"""The open purge transaction on a PostgreSQL source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import psycopg

from dsp_airflow.engine.model import Digest, Key, KeyRange, Projection, RowHash
from dsp_airflow.engine.ports import Outcome
from dsp_airflow.engine.stores.postgres import proof
from dsp_airflow.engine.stores.postgres.query import Connection, one

OUTCOMES: dict[str | None, Outcome] = {
    "committed": "committed",
    "aborted": "aborted",
    "in progress": "running",
    None: "unknown",
}
# One snapshot for what is digested and what is deleted: a row that somebody changes in between
# ends the transaction. The lock comes before the snapshot, which thus shows every trigger and
# reference that there is; none can be added while it is held.
WHOLE = (
    "ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE; "
    "LOCK TABLE {table} IN ROW EXCLUSIVE MODE"
)
# Every statement re-reads what was committed meanwhile: a row that changed while the lock
# was awaited is hashed, filtered and deleted as it is now.
BY_KEY = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"


class PostgresPurge:
    """See ``ports.Purge``. Deleting is the lock: the rows are gone only after ``commit``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
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
        try:
            taken = proof.digest(self._connection, what, within)
            deleted = self._connection.execute(
                f"DELETE FROM {what.table} WHERE {proof.condition(what, within)}".encode()
            ).rowcount
        except psycopg.errors.SerializationFailure:
            return None
        # A trigger may keep rows.
        return taken if deleted == taken.rows else None

    def undo(self) -> None:
        """Rolls back and begins anew."""
        self._connection.execute("ROLLBACK")
        self._connection.execute(BY_KEY)

    def newest(self, what: Projection) -> Collection[Key]:  # noqa: ARG002
        """None: a sequence remembers by itself."""
        return ()

    def take_keys(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        """As ``take``, by the source's own key; needs no other privilege."""
        taken: list[RowHash] = []
        for arrays in proof.key_chunks(what, keys):
            rows = self._connection.execute(
                f"DELETE FROM {proof.verbatim(what.table)} WHERE {proof.by_keys(what)} "
                f"RETURNING {proof.verbatim(proof.hash_columns(what, None))}",
                arrays,
            ).fetchall()
            taken += [proof.as_hash(row, len(what.key)) for row in rows]
        return taken

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


def outcome(connection: Connection, token: str) -> Outcome:
    """Asks the server's commit log; ``unknown`` when it reaches back no further."""
    try:
        row = connection.execute("SELECT pg_xact_status(%s::xid8)", (token,)).fetchone()
    except psycopg.errors.InvalidParameterValue:
        # An id from the future: the server was restored or failed over without that commit.
        return "aborted"
    return OUTCOMES.get(row[0] if row else None, "unknown")

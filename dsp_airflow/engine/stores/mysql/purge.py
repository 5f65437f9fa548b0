"""The open purge transaction on a MySQL source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import MySQLdb

from dsp_airflow.engine.errors import Refused, Transient
from dsp_airflow.engine.model import Digest, Key, KeyRange, Projection, RowHash
from dsp_airflow.engine.ports import Outcome
from dsp_airflow.engine.stores.mysql import locks, proof, translate
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, texts
from dsp_airflow.engine.stores.mysql.references import Guard
from dsp_airflow.engine.stores.mysql.tables import LOCKING, facts

DEADLOCK = 1213
FOR_UPDATE = " FOR UPDATE"
ATTEMPTS = 3
"""At keys under which rows appear between two statements; the first statement locks them next."""

# Every statement re-reads what was committed meanwhile: a row that changed while its lock was
# awaited is hashed, filtered and deleted as it is now. Gaps are not locked, so that rows may
# appear: each deletion is counted.
ISOLATION = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE"


class MySQLPurge:
    """See ``ports.Purge``. ``close`` must follow, whatever happened.

    The session does not commit by itself meanwhile: the server undoes a whole transaction on a
    deadlock, and what came after that would be final at once.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._token: str | None = None
        self._newest: str | None = None
        self._guard: Guard | None = None
        self._referenced: dict[Key, str] = {}
        execute(connection, "SET autocommit = 0")
        self._begin()

    def _begin(self) -> None:
        self._newest, self._guard, self._referenced = None, None, {}
        execute(self._connection, "ROLLBACK")
        execute(self._connection, ISOLATION)
        execute(self._connection, "START TRANSACTION")

    def take(
        self, what: Projection, within: KeyRange, locked: Callable[[Digest], None] | None = None
    ) -> Digest | None:
        """Locks and digests, then deletes. What is locked can neither change nor go meanwhile."""
        matching = proof.condition(what, within)
        try:
            if what.numbered is not None and self._stands_in(what, matching):
                return None
            taken = proof.digest_where(self._connection, what, matching, FOR_UPDATE)
            guard = self._guarded(what)
            if guard:
                guard.lock(what, matching)
                if guard.refers(what, matching):
                    return None
            if locked is not None:
                locked(taken)
            deleted = self._delete(what, matching)
        except MySQLdb.OperationalError as error:
            if translate.number(error) != DEADLOCK:
                raise
            # The server has taken everything back.
            return None
        # Rows may have appeared between the two.
        return taken if deleted == taken.rows else None

    def undo(self) -> None:
        """Rolls back and begins anew."""
        self._begin()

    def newest(self, what: Projection) -> Collection[Key]:
        """See ``ports.Purge``."""
        if what.numbered is None or (newest := self._held_newest(what)) is None:
            return ()
        own = ", ".join(proof.own_key(what))
        found = texts(
            self._connection, f"SELECT {own} FROM {what.table} WHERE {what.numbered} = {newest}"
        )
        return [tuple(map(str, row)) for row in found]

    def _stands_in(self, what: Projection, matching: str) -> bool:
        newest = self._held_newest(what)
        if newest is None:
            return False
        return (
            proof.count_where(self._connection, what, f"{matching} AND {what.numbered} = {newest}")
            > 0
        )

    def _held_newest(self, what: Projection) -> str | None:
        """The largest committed value, whose row stays as long as the transaction lasts.

        Rows that others are inserting are not waited for: theirs are larger.
        """
        largest = f"SELECT MAX({what.numbered}) FROM {what.table}"
        for _ in range(ATTEMPTS):
            if self._newest is not None:
                return self._newest
            value = one(self._connection, largest)[0]
            if value is None:
                return None
            row = f"SELECT 1 FROM {what.table} WHERE {what.numbered} = {value} LOCK IN SHARE MODE"
            if texts(self._connection, row):
                self._newest = value
        if self._newest is None:
            raise Transient(
                f"{what.label}: the row with the newest {what.numbered} keeps going while it is "
                "looked for; nothing of this batch was deleted, retry"
            )
        return self._newest

    def take_keys(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        """As ``take``, by the source's own key."""
        taken: list[RowHash] = []
        for chunk in proof.key_chunks(keys):
            taken += self._chunk(what, chunk)
        return taken

    def _chunk(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        matching = proof.by_keys(what, keys)
        if what.numbered is not None and (newest := self._held_newest(what)) is not None:
            matching = f"({matching}) AND {what.numbered} <> {newest}"
        for _ in range(ATTEMPTS):
            execute(self._connection, "SAVEPOINT dsp_chunk")
            found = proof.hashes_where(self._connection, what, matching, FOR_UPDATE)
            held = self._held(what, matching)
            going = [row for row in found if row.at not in held]
            wanted = proof.by_keys(what, [row.at for row in going]) if held and going else matching
            if not going or self._delete(what, wanted) == len(going):
                execute(self._connection, "RELEASE SAVEPOINT dsp_chunk")
                self._referenced |= held
                return going
            execute(self._connection, "ROLLBACK TO SAVEPOINT dsp_chunk")
        raise Transient(
            f"{what.label}: rows keep appearing under keys that are being purged; nothing of this "
            "batch was deleted, retry"
        )

    def _held(self, what: Projection, matching: str) -> dict[Key, str]:
        guard = self._guarded(what)
        if not guard:
            return {}
        guard.lock(what, matching)
        return guard.held(what, matching)

    def _guarded(self, what: Projection) -> Guard:
        if self._guard is None:
            self._guard = Guard(self._connection, what)
        return self._guard

    def referenced(self) -> Mapping[Key, str]:
        """See ``references.LeavesReferenced``."""
        return self._referenced

    def _delete(self, what: Projection, matching: str) -> int:
        # Only now: having been read, the table cannot be altered before the transaction ends.
        _refuse_unlockable(self._connection, what)
        with self._guarded(what).deleting():
            return execute(self._connection, f"DELETE FROM {what.table} WHERE {matching}")

    def settle(self) -> None:
        """Nothing is put off here: triggers and references act with every row."""

    def token(self) -> str:
        """A lock of that name, held until the transaction has ended, however it does.

        The server lets go of a session's locks after it has rolled back.
        """
        if self._token is None:
            self._token = locks.hold(self._connection, "purge")
        return self._token

    def commit(self) -> None:
        """Makes the deletions final."""
        execute(self._connection, "COMMIT")
        self._let_go()

    def close(self) -> None:
        """Rolls back what was not committed, and leaves the session as it was before."""
        # Going back to autocommit commits what is open.
        execute(self._connection, "ROLLBACK")
        execute(self._connection, "SET autocommit = 1")
        self._let_go()

    def _let_go(self) -> None:
        if self._token is not None:
            locks.release(self._connection, self._token)
            self._token = None


def _refuse_unlockable(connection: Connection, what: Projection) -> None:
    """The plan has refused such tables; a row deleted there cannot be brought back."""
    table = facts(connection, what.table)
    if table is None or table.engine != LOCKING:
        raise Refused(
            f"{what.label} has no rows that can be locked and brought back; nothing was deleted: "
            f"ALTER TABLE ... ENGINE = {LOCKING}, then plan anew"
        )


def outcome(connection: Connection, token: str) -> Outcome:
    """``running`` while the session of that transaction lives; afterwards no server here tells."""
    return "unknown" if locks.holder(connection, token) is None else "running"

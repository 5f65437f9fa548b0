"""The open purge transaction on a MongoDB source.

A transaction reads one snapshot, and a document that has changed since cannot be deleted in it:
the server ends the transaction instead. So what was deleted is exactly what was read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pymongo
from bson.binary import UUID_SUBTYPE, Binary
from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.model import Digest, Key, KeyRange, Projection, RowHash
from dsp_airflow.engine.ports import Outcome
from dsp_airflow.engine.stores.mongodb import names, proof, query, translate
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.leases import Lease

ATTEMPTS: Final = 5
"""At documents that change while they are taken."""
KEPT: Final = timedelta(days=30)
"""How long it is known what became of a purge."""
GRACE: Final = timedelta(seconds=5)
"""From the token to the commit; in between the ledger is written to."""
PATIENCE: Final = 0.3
"""Seconds to wait for a transaction that may be about to commit."""
_COMMITTED: Final = "committed"


class MongoPurge:
    """See ``ports.Purge``. ``close`` must follow, whatever happened."""

    def __init__(self, connection: Connection, lease: Lease | None) -> None:
        self._connection = connection
        self._lease = lease
        self._session: ClientSession = connection.client.start_session()
        self._table: str | None = None
        self._token: str | None = None
        self._taken: dict[Key, str] = {}
        self._opened = False
        if lease is not None:
            lease.renew(lease.table)
        self._begin()

    def _open(self, what: Projection) -> None:
        """Before anything else is done in a transaction."""
        if self._table is None:
            self._table = what.table
            # It could not use a collection that is made after its first statement.
            self._seen_by_majority()
        if self._lease is not None and not self._opened:
            self._lease.fence(self._session, what.label)
        self._opened = True

    def _seen_by_majority(self) -> None:
        """Whatever was read so far is what a majority of the servers has, or this raises."""
        schema, _ = self._connection.split(self._table or "")
        self._connection.base(schema)[names.MARKERS].update_one(
            {"_id": "purges"}, {"$set": {"at": datetime.now(UTC)}}, upsert=True
        )

    def _begin(self) -> None:
        self._connection.view = None
        self._opened = False
        with contextlib.suppress(PyMongoError):
            # A transaction that the server has ended needs no abort.
            if self._session.in_transaction:
                self._session.abort_transaction()
        self._connection.begin(self._session)

    def take(
        self,
        what: Projection,
        within: KeyRange,
        locked: Callable[[Digest], None] | None = None,  # noqa: ARG002
    ) -> Digest | None:
        """Digests, then deletes the same snapshot."""
        self._open(what)
        try:
            taken = self._take(what, within)
        except OperationFailure as error:
            if not translate.conflicting(error):
                raise
            return None
        self._connection.view = self._session
        return taken

    def _take(self, what: Projection, within: KeyRange) -> Digest | None:
        taken = proof.taken(self._connection, what, within, self._session)
        if taken is None:
            return None
        deleted = self._delete(what, query.matching(what, within))
        return taken if deleted == taken.rows else None

    def undo(self) -> None:
        """Rolls back and begins anew."""
        self._taken = {}
        self._begin()

    def take_keys(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        """As ``take``, by ids. Documents that change meanwhile are left out.

        A conflict takes back everything: what was taken before is taken again, and must be what it
        was.
        """
        self._open(what)
        wanted, seen = list(keys), dict[Key, str]()
        for _ in range(ATTEMPTS):
            try:
                found = self._found(what, wanted)
                free = [row.at for row in found if not row.kept]
                deleted = self._delete_keys(what, free)
            except OperationFailure as error:
                if not translate.conflicting(error):
                    raise
                self._begin()
                self._again(what)
                fresh = {row.at: row.hash for row in self._found(what, wanted)}
                # Who has changed since the last look will do so again.
                wanted = [key for key in fresh if seen.get(key, fresh[key]) == fresh[key]]
                seen = fresh
                continue
            if deleted != len(free):
                raise _changing(what)
            self._taken |= {row.at: row.hash for row in found if not row.kept}
            self._connection.view = self._session
            return found
        raise _changing(what)

    def _again(self, what: Projection) -> None:
        """Takes what was taken before; ``Transient`` when it is no longer what it was."""
        self._open(what)
        before = list(self._taken)
        if not before:
            return
        try:
            found = self._found(what, before)
            if {row.at: row.hash for row in found if not row.kept} != self._taken:
                raise _changing(what)
            self._delete_keys(what, before)
        except OperationFailure as error:
            if not translate.conflicting(error):
                raise
            raise _changing(what) from error

    def _found(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        return list(proof.hashes(self._connection, what, None, keys, self._session))

    def _delete_keys(self, what: Projection, keys: Sequence[Key]) -> int:
        """Deletes what these ids stand for; how many there were."""
        return sum(
            self._delete(what, query.matching(what, None, chunk)) for chunk in query.chunks(keys)
        )

    def _delete(self, what: Projection, matching: dict[str, Any]) -> int:
        collection = self._connection.collection(what.table)
        return int(collection.delete_many(matching, session=self._session).deleted_count)

    def newest(self, what: Projection) -> Collection[Key]:  # noqa: ARG002
        """None: nothing is numbered here."""
        return ()

    def settle(self) -> None:
        """Nothing is put off here."""

    def token(self) -> str:
        """The id of a document that commits with the deletions."""
        if self._token is None:
            begun, own = datetime.now(UTC).isoformat(), self._session.session_id["id"].hex()
            self._token = f"{begun} {uuid4().hex}.{own} {self._table}"
            marks = marks_of(self._connection, self._token)
            # Who reads what a majority has will never again see an older document than those
            # that were proved.
            self._seen_by_majority()
            before = datetime.now(UTC) - KEPT
            marks.delete_many({"purge": {"$exists": True}, "at": {"$lt": before}})
            marks.insert_one(_mark(self._token, _COMMITTED), session=self._session)
        return self._token

    def commit(self) -> None:
        """Makes the deletions final, on a majority of the servers."""
        self.token()
        self._connection.commit(self._session)

    def close(self) -> None:
        """Rolls back what was not committed."""
        self._connection.view = None
        self._session.end_session()


def marks_of(connection: Connection, token: str) -> pymongo.collection.Collection[dict[str, Any]]:
    """Where the purge of this token leaves its mark: beside the source."""
    schema, _ = connection.split(table_of(token))
    return connection.base(schema)[names.MARKERS]


def table_of(token: str) -> str:
    """Of which table it tells."""
    return token.split(" ", 2)[2]


def _session_of(token: str) -> dict[str, Any]:
    """The session in which the purge of this token works."""
    own = token.split(" ", 2)[1].partition(".")[2]
    return {"id": Binary(bytes.fromhex(own), UUID_SUBTYPE)}


def _mark(token: str, became: str) -> dict[str, Any]:
    return {"_id": token, "purge": became, "at": datetime.now(UTC)}


def _changing(what: Projection) -> Transient:
    return Transient(
        f"{what.label}: documents that are being purged keep changing; nothing of this batch was "
        "deleted, retry"
    )


def _known(token: str) -> bool:
    """Whether it is a token of ours whose mark is still kept."""
    try:
        return _age(token) < KEPT / 2
    except (ValueError, TypeError):
        return False


def _age(token: str) -> timedelta:
    return datetime.now(UTC) - datetime.fromisoformat(token.split(" ", 1)[0])


def outcome(connection: Connection, token: str) -> Outcome:
    """Leaves the mark itself: where that succeeds, the transaction can commit no more.

    One that should have committed a while ago is ended: its worker is dead or cut off, and the
    server would keep it, and the documents that it holds, for up to a minute and a half.
    """
    if not _known(token):
        return "unknown"
    marks = marks_of(connection, token)
    try:
        with pymongo.timeout(PATIENCE):
            marks.insert_one(_mark(token, "aborted"))
    except DuplicateKeyError:
        left = marks.find_one({"_id": token})
        if left is None:
            # It was written, and a majority of the servers does not know yet.
            return "running"
        return "committed" if left["purge"] == _COMMITTED else "aborted"
    except PyMongoError as error:
        if not (error.timeout or translate.conflicting(error)):
            raise
        # The transaction holds the document: it is open, or ends at this moment.
        if _age(token) > GRACE:
            connection.end_session(_session_of(token))
        return "running"
    return "aborted"

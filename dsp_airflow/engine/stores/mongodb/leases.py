"""Who writes into a collection and who proves by it: never both at once.

The server has no locks that one could ask for. So each leaves a document beside the collection
that says until when it is there, by the server's own clock. Whoever comes leaves his own first and
then looks for the other kind, in a read that sees everything written before that: of two who come
together one sees the other.

A lease may run out while its holder stalls. Whoever proves then removes it. The holder's
transaction writes to its own lease first of all: one that is open keeps the lease from being
removed until it has ended, and one that begins after that finds none and ends.

A lease of who proves may run out without harm once the rows are locked in the source: who begins
to write after that reads what was proved. Before that a batch could be read that is older than the
proof, and written after it. So a writer removes what has run out, too, and who proves looks, when
the rows are locked, whether his own still stands; so does who replaces the collection.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal
from uuid import uuid4

from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.write_concern import WriteConcern

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.mongodb import names
from dsp_airflow.engine.stores.mongodb.connection import Connection

TERM: Final = timedelta(seconds=30)
"""How long a lease lasts: time enough to digest a batch, until the transaction that writes it."""
FRESH: Final = 5.0
"""Seconds in which a lease need not be renewed."""
PATIENCE: Final = 300.0
"""Seconds to wait for batches and proofs of others on the same collection."""
TURN: Final = 0.2
"""Seconds between two looks."""
ACTIONS: Final = ("find", "insert", "update", "remove")
_OVER: Final = {"$expr": {"$lt": ["$until", "$$NOW"]}}
Kind = Literal["writing", "proving"]


@dataclass(slots=True)
class Lease:
    """A place among those who write into a collection, or the place of who proves by it."""

    connection: Connection
    table: str
    kind: Kind
    holder: str
    _said: float | None = None
    """When the server was last told, by the clock of this process."""

    @property
    def _locks(self) -> Collection[dict[str, Any]]:
        return locks(self.connection, self.table)

    @property
    def _name(self) -> str:
        return self.connection.split(self.table)[1]

    @property
    def id(self) -> dict[str, str]:
        """Of one collection many may write, and one prove."""
        own = {"holder": self.holder} if self.kind == "writing" else {}
        return {"table": self._name, "kind": self.kind, **own}

    def take(self, session: ClientSession | None = None) -> bool:
        """Leaves the document; False when another holder's stands there."""
        until = {"$add": ["$$NOW", TERM // timedelta(milliseconds=1)]}
        now = time.monotonic()
        try:
            self._locks.update_one(
                {"_id": self.id, "holder": self.holder},
                [{"$set": {"until": until, "by": self.connection.options.name}}],
                upsert=True,
                session=session,
            )
        except DuplicateKeyError:
            return False
        self._said = now
        return True

    def renew(self, label: str) -> None:
        """As long again, ``FRESH`` less at most; ``Transient`` when it ran out and was removed."""
        now = time.monotonic()
        if self._said is not None and now - self._said < FRESH:
            return
        until = {"$add": ["$$NOW", TERM // timedelta(milliseconds=1)]}
        kept = self._locks.update_one(
            {"_id": self.id, "holder": self.holder}, [{"$set": {"until": until}}]
        )
        if kept.matched_count != 1:
            raise lost(label, self.kind)
        self._said = now

    def fence(self, session: ClientSession, label: str) -> None:
        """Binds a transaction to the lease: it is not removed before that has ended.

        What is written differs every time, as a server takes no note of a write without effect.
        """
        kept = self._locks.update_one(
            {"_id": self.id, "holder": self.holder},
            {"$inc": {"bound": 1}},
            session=session,
        )
        if kept.matched_count != 1:
            raise lost(label, self.kind)

    def give_back(self) -> None:
        """Removes the document. Where that cannot be told to the server, it runs out.

        So it does where the server forgets, which is why no majority is waited for. Who comes
        next reads what was written before his own lease, this among it.
        """
        locks = self._locks.with_options(write_concern=WriteConcern(w=1))
        with contextlib.suppress(PyMongoError):
            locks.delete_one({"_id": self.id, "holder": self.holder})


def lost(label: str, kind: Kind) -> Transient:
    """The error of who was away for too long."""
    done = {"writing": "written", "proving": "deleted"}[kind]
    return Transient(
        f"{label}: what was begun took longer than {TERM} without a sign, and somebody else was "
        f"let in; nothing was {done}, retry"
    )


def locks(connection: Connection, table: str) -> Collection[dict[str, Any]]:
    """Where the leases on a collection stand: beside it."""
    schema, _ = connection.split(table)
    return connection.base(schema)[names.LOCKS]


@contextmanager
def writing(connection: Connection, what: Projection, where: str) -> Iterator[Lease]:
    """See ``ports.Writes``. ``where`` names the connection in errors."""
    lease = Lease(connection, what.table, "writing", uuid4().hex)
    prover = {"_id": Lease(connection, what.table, "proving", "").id}
    give_up = time.monotonic() + PATIENCE
    try:
        with connection.client.start_session(causal_consistency=True) as session:
            while True:
                lease.take(session)
                if not _any(lease, prover, session):
                    break
                lease.give_back()
                _wait(give_up, what, where)
        yield lease
    finally:
        lease.give_back()


@contextmanager
def proving(connection: Connection, what: Projection, where: str) -> Iterator[Lease]:
    """See ``ports.Writes``. What is proved stands only where ``renew`` succeeds afterwards."""
    lease = Lease(connection, what.table, "proving", uuid4().hex)
    _, name = connection.split(what.table)
    writers = {"_id.table": name, "_id.kind": "writing"}
    table = locks(connection, what.table)
    give_up = time.monotonic() + PATIENCE
    try:
        with connection.client.start_session(causal_consistency=True) as session:
            while not lease.take(session):
                table.delete_many({"_id": lease.id, **_OVER})
                _wait(give_up, what, where)
            while _any(lease, writers, session):
                _wait(give_up, what, where)
                lease.renew(what.label)
            # The proof, too, is read after all that those writers have left.
            connection.after = session
            try:
                yield lease
            finally:
                connection.after = None
    finally:
        lease.give_back()


def _any(lease: Lease, query: dict[str, Any], session: ClientSession) -> bool:
    """Whether such leases stand, after those that have run out are removed.

    Nothing else makes one count as gone: it may run out at this moment, and its holder find it
    standing. In the session that took ours, so that what was left before is seen.
    """
    table = locks(lease.connection, lease.table)
    if table.find_one(query, session=session) is None:
        return False
    # Waits where such a holder is committing at this moment.
    table.delete_many({**query, **_OVER}, session=session)
    return table.find_one(query, session=session) is not None


def _wait(give_up: float, what: Projection, where: str) -> None:
    if time.monotonic() > give_up:
        raise Transient(
            f"{where}: other runs have been copying into {what.label}, or purging by it, for "
            f"{PATIENCE:.0f} seconds; retry when they are through"
        )
    time.sleep(TURN)

"""Notes of what a run writes into a collection, and how they are undone; see ``engine.notes``.

A note is a document of its own, written by the transaction that writes what it tells of.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError

from dsp_airflow.engine.errors import BadValue, Contended, Refused
from dsp_airflow.engine.model import Key, Projection
from dsp_airflow.engine.notes import UNDONE, KeptNote, Note, Standing, Tally, not_allowed
from dsp_airflow.engine.stores.mongodb import keys, names, query, raw, refusals, rows
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.leases import Lease

At = Callable[[str], AbstractContextManager[None]]
SetBack = Callable[[ClientSession, Sequence[tuple[bytes, bytes]]], None]
"""Replaces documents, as they are, by what they were; ``Unfit`` where one cannot be."""
ACTIONS: Final = (
    *("find", "insert", "update", "createCollection", "createIndex", "dropCollection"),
)
TAKEN_BYTES: Final = 4 * 1024 * 1024
"""Of notes that one transaction goes by, unless one is larger."""
LISTED: Final = 500
"""Notes that one query names."""
_INSERTED, _UPDATED = "inserted", "updated"
_WAITING: Final = {"outcome": None}


class Unfit(BadValue):
    """A server has something against one document: a unique index, or a validator."""

    def __init__(self, message: str, own: raw.Value, said: str) -> None:
        super().__init__(message)
        self.own = own
        self.said = said


@dataclass(slots=True)
class _AtOnce:
    """How many notes a transaction goes by. It ends with the first that has to be kept, and what
    comes after that was read in vain.
    """

    notes: int = sys.maxsize

    def fewer(self, done: int) -> None:
        self.notes = max(1, done)

    def more(self) -> None:
        self.notes = min(2 * self.notes, sys.maxsize)


class Noting:
    """What a transaction has written, on its way into the notes."""

    def __init__(self, connection: Connection, what: Projection, session: ClientSession) -> None:
        self._collection = connection.collection(what.notes)
        self._session = session

    def inserted(self, documents: Iterable[bytes]) -> None:
        """Documents that were not there before."""
        self._note([(_INSERTED, document, None) for document in documents])

    def updated(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Old and new document."""
        self._note([(_UPDATED, new, old) for old, new in pairs])

    def _note(self, written: Sequence[tuple[str, bytes, bytes | None]]) -> None:
        if not written:
            return
        owns = [raw.id_of(document) for _, document, _ in written]
        texts = [keys.text(own) for own in owns]
        earlier = {
            found["_id"]: int(found["n"])
            for found in self._collection.aggregate(
                [
                    {"$match": {"key": {"$in": texts}}},
                    {"$group": {"_id": "$key", "n": {"$max": "$n"}}},
                ],
                session=self._session,
            )
        }
        notes = [
            {
                "key": text,
                # Of one document the later note has the larger number, whoever's clock is right.
                "n": earlier.get(text, 0) + 1,
                "act": act,
                "of": raw.document([("_id", own)]),
                "left": _digest(document),
                "before": None if old is None else RawBSONDocument(old),
                "outcome": None,
            }
            for (act, document, old), own, text in zip(written, owns, texts, strict=True)
        ]
        self._collection.insert_many(notes, session=self._session)


class MongoNotes:
    """See ``engine.notes.Notes``."""

    def __init__(
        self,
        connection: Connection,
        what: Projection,
        at: At,
        lease: Callable[[], Lease | None],
        set_back: SetBack,
    ) -> None:
        self._connection = connection
        self._what = what
        self._at = at
        self._lease = lease
        self._set_back = set_back
        self._at_once = _AtOnce()

    def refusals(self, *, create: bool) -> list[str]:  # noqa: ARG002 - it is the same
        """See ``engine.notes.Notes``."""
        with self._at(self._what.label):
            if not self._connection.transactions:
                return ["the server has no transactions, as it is no replica set"]
            # Of a run that has no name yet; the login may do the same to any of them.
            schema, _ = self._connection.split(self._what.table)
            table = self._what.notes or names.qualified(schema, "dsp_before_of_a_run")
            return refusals.lacking(self._connection, table, ACTIONS)

    def prepare(self) -> None:
        """See ``engine.notes.Notes``."""
        with self._at(self._what.notes):
            # A transaction cannot use a collection that is made after it has begun.
            self._connection.make(self._what.notes)
            self._collection.create_index("key")

    def tally(self) -> Tally | None:
        """See ``engine.notes.Notes``."""
        with self._at(self._what.notes):
            if not self._exists():
                return None
            groups = list(
                self._collection.aggregate(
                    [
                        {
                            "$group": {
                                "_id": {"act": "$act", "outcome": "$outcome"},
                                "rows": {"$sum": 1},
                            }
                        }
                    ]
                )
            )
        found = {(g["_id"]["act"], g["_id"].get("outcome")): int(g["rows"]) for g in groups}
        ended = (None, UNDONE)
        return Tally(
            inserted=found.get((_INSERTED, None), 0),
            updated=found.get((_UPDATED, None), 0),
            removed=found.get((_INSERTED, UNDONE), 0),
            restored=found.get((_UPDATED, UNDONE), 0),
            kept=sum(n for (_, outcome), n in found.items() if outcome not in ended),
        )

    def waiting(self, below: int | None, most: int) -> Sequence[Note]:
        """See ``engine.notes.Notes``."""
        matching: dict[str, Any] = dict(_WAITING)
        if below is not None:
            matching["_id"] = {"$lt": _identity(below)}
        with self._at(self._what.notes):
            notes = _read(self._connection, self._what, matching, most, None)
            there = _standing(self._connection, self._what, notes, None)
        return [_told(self._what, note, there) for note in notes]

    def require_fitting(self) -> None:
        """See ``engine.notes.Notes``: a document is kept whole, whatever it has."""

    def index(self) -> None:
        """See ``engine.notes.Notes``."""
        with self._at(self._what.notes):
            self._collection.create_index([("outcome", 1), ("_id", -1)])

    @contextmanager
    def undoing(self) -> Iterator[MongoUndoing]:
        """See ``engine.notes.Notes``."""
        with self._at(self._what.label):
            work = MongoUndoing(
                self._connection,
                self._what,
                self._at,
                self._lease(),
                self._set_back,
                self._at_once,
            )
        try:
            yield work
        finally:
            with contextlib.suppress(PyMongoError):
                # A transaction that cannot be told ends by itself.
                work.close()

    def kept(self, most: int) -> list[KeptNote]:
        """See ``engine.notes.Notes``."""
        matching = {"outcome": {"$nin": [None, UNDONE]}}
        with self._at(self._what.notes):
            found = self._collection.find(
                matching, {"key": 1, "act": 1, "outcome": 1}, sort=[("_id", -1)], limit=most
            )
            return [
                KeptNote((one["key"],), one["act"] == _INSERTED, one["outcome"]) for one in found
            ]

    def drop(self) -> None:
        """See ``engine.notes.Notes``."""
        with self._at(self._what.notes):
            self._collection.drop()

    @property
    def _collection(self) -> Any:
        return self._connection.collection(self._what.notes)

    def _exists(self) -> bool:
        schema, name = self._connection.split(self._what.notes)
        listed = self._connection.base(schema).list_collection_names(
            filter={"name": name}, authorizedCollections=True
        )
        return bool(listed)


class MongoUndoing:
    """See ``engine.notes.Undoing``. ``close`` must follow, whatever happened.

    A document that was changed since the transaction's snapshot cannot be written in it: the server
    ends the transaction instead. So what is undone is what was read. It also ends it where it does
    not take what a document was; then all up to that one is done anew.
    """

    def __init__(
        self,
        connection: Connection,
        what: Projection,
        at: At,
        lease: Lease | None,
        set_back: SetBack,
        at_once: _AtOnce,
    ) -> None:
        self._connection = connection
        self._what = what
        self._at = at
        self._lease = lease
        self._set_back = set_back
        self._at_once = at_once
        self._notes: dict[int, RawBSONDocument] = {}
        self._there: dict[str, bytes] = {}
        if lease is not None:
            lease.renew(what.label)
        self._session = connection.client.start_session()
        self._begin()

    def take(self, most: int) -> Sequence[Note]:
        """See ``engine.notes.Undoing``."""
        with self._at(self._what.label):
            most = min(most, self._at_once.notes)
            notes = self._last(_read(self._connection, self._what, _WAITING, most, self._session))
            self._there = _standing(self._connection, self._what, notes, self._session)
        self._notes = {_number(note): note for note in notes}
        return [_told(self._what, note, self._there) for note in notes]

    def settle(self, undone: Collection[int], kept: Mapping[int, str]) -> None:
        """See ``engine.notes.Undoing``."""
        with self._at(self._what.label):
            # The youngest first: old values of a unique index may have changed places since.
            notes = [self._notes[number] for number in sorted(undone, reverse=True)]
            inserted = [note for note in notes if note["act"] == _INSERTED]
            updated = [note for note in notes if note["act"] == _UPDATED]
            why = dict(kept)
            while (unfit := self._undo(inserted, updated)) is not None:
                at = [raw.id_of(_before(note)) for note in updated].index(unfit.own)
                why[_number(updated[at])] = not_allowed(unfit.said)
                updated = updated[:at]
                self._anew([*inserted, *updated])
            if why == kept:
                self._at_once.more()
            else:
                self._at_once.fewer(len(updated))
            self._end(UNDONE, [_number(note) for note in (*inserted, *updated)])
            for reason in sorted(set(why.values())):
                self._end(reason, [number for number, told in why.items() if told == reason])

    def commit(self) -> None:
        """See ``engine.notes.Undoing``."""
        with self._at(self._what.label):
            self._connection.commit(self._session)

    def close(self) -> None:
        """What is not committed is taken back."""
        self._session.end_session()

    def _begin(self) -> None:
        self._connection.begin(self._session)
        if self._lease is not None:
            self._lease.fence(self._session, self._what.label)

    def _anew(self, notes: Sequence[RawBSONDocument]) -> None:
        """The server has ended the transaction; in another one all is to be as it was read."""
        self._session.abort_transaction()
        self._begin()
        there = _standing(self._connection, self._what, notes, self._session)
        if there != {note["key"]: self._there[note["key"]] for note in notes}:
            raise Contended(
                f"{self._what.label}: somebody changed documents meanwhile; nothing more was "
                "undone, retry"
            )

    def _last(self, notes: Sequence[RawBSONDocument]) -> Sequence[RawBSONDocument]:
        """Of each of their documents the last note, which another clock may have made older."""
        groups = self._connection.collection(self._what.notes).aggregate(
            [
                {"$match": {"key": {"$in": [note["key"] for note in notes]}, **_WAITING}},
                {"$group": {"_id": "$key", "n": {"$max": "$n"}}},
            ],
            session=self._session,
        )
        last = {one["_id"]: one["n"] for one in groups}
        found = [note for note in notes if note["n"] == last[note["key"]]]
        unread = last.keys() - {note["key"] for note in found}
        if unread:
            newer = [{"key": key, "n": last[key]} for key in sorted(unread)[:LISTED]]
            matching = {**_WAITING, "$or": newer}
            found += _read(self._connection, self._what, matching, LISTED, self._session)
        return found

    def _undo(
        self, inserted: Sequence[RawBSONDocument], updated: Sequence[RawBSONDocument]
    ) -> Unfit | None:
        """What the server has against one of these, if anything."""
        self._remove(inserted)
        pairs = [(self._there[note["key"]], _before(note)) for note in updated]
        try:
            self._set_back(self._session, pairs)
        except Unfit as unfit:
            return unfit
        return None

    def _remove(self, notes: Sequence[RawBSONDocument]) -> None:
        if not notes:
            return
        ids = [_own(note) for note in notes]
        done = self._connection.collection(self._what.table).delete_many(
            query.by_ids(ids), session=self._session
        )
        if done.deleted_count != len(ids):
            raise Contended(
                f"{self._what.label}: somebody deleted documents meanwhile; nothing more was "
                "undone, retry"
            )

    def _end(self, outcome: str, numbers: Collection[int]) -> None:
        self._connection.collection(self._what.notes).update_many(
            {"_id": {"$in": [_identity(number) for number in numbers]}},
            {"$set": {"outcome": outcome}},
            session=self._session,
        )


def _read(
    connection: Connection,
    what: Projection,
    matching: Mapping[str, Any],
    most: int,
    session: ClientSession | None,
) -> list[RawBSONDocument]:
    """The youngest notes, so many at most."""
    found: list[RawBSONDocument] = []
    size = 0
    for buffer in connection.find(
        what.notes, dict(matching), session=session, limit=most, descending=True
    ):
        for document in raw.documents(buffer):
            size += len(document)
            if found and size > TAKEN_BYTES:
                return found
            found.append(RawBSONDocument(document))
    return found


def _standing(
    connection: Connection,
    what: Projection,
    notes: Sequence[RawBSONDocument],
    session: ClientSession | None,
) -> dict[str, bytes]:
    """What stands there under the ids of notes, by their keys."""
    found: dict[str, bytes] = {}
    for first in range(0, len(notes), 500):
        ids = [_own(note) for note in notes[first : first + 500]]
        for buffer in connection.find(
            what.table, query.by_ids(ids), session=session, ordered=False, required=False
        ):
            for document in raw.documents(buffer):
                found[keys.text(raw.id_of(document))] = document
    return found


def _told(what: Projection, note: RawBSONDocument, there: Mapping[str, bytes]) -> Note:
    document = there.get(note["key"])
    key: Key = (str(note["key"]),)
    standing: Standing = "gone"
    if document is not None:
        standing = "left" if _digest(document) == note["left"] else "changed"
        if query.is_mapped(what):
            # By which others find it again, as they read it.
            key = rows.Rows(what).hash(document).at
    return Note(_number(note), key, note["act"] == _INSERTED, standing)


def _own(note: RawBSONDocument) -> raw.Value:
    return raw.id_of(bytes(note["of"].raw))


def _before(note: RawBSONDocument) -> bytes:
    return bytes(note["before"].raw)


def _digest(document: bytes) -> str:
    return hashlib.sha256(document).hexdigest()


def _number(note: RawBSONDocument) -> int:
    return int(str(note["_id"]), 16)


def _identity(number: int) -> ObjectId:
    return ObjectId(f"{number:024x}")


def require_transaction(what: Projection, session: ClientSession | None) -> ClientSession:
    """Notes that stood there without what they tell of would undo what never was."""
    if session is None:
        raise Refused(f"{what.label}: rollback: true needs a server with transactions")
    return session


__all__ = ["MongoNotes", "Noting", "require_transaction"]

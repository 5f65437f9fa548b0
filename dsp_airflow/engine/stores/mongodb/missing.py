"""Documents that have none of the ids that were sent: looked up on the server.

The ids go into a collection beside, as the server has no temporary ones. Who is killed leaves it,
and the next one removes it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import IO, Any, Final, cast

from pymongo.errors import BulkWriteError

from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.model import Key, Projection
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.removal import Removal
from dsp_airflow.engine.stores.mongodb import keys, names, query, raw, relay, rows
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.facts import facts

SENT: Final = "dsp_sent"
_INSERTED: Final = 10_000
_INSERTED_BYTES: Final = 4 * 1024 * 1024


ACTIONS: Final = ("find", "insert", "createCollection", "dropCollection")


def sent_beside(connection: Connection, what: Projection) -> str:
    """The collection that the ids for this one are sent to."""
    schema, name = connection.split(what.table)
    own = hashlib.sha256(name.encode()).hexdigest()[:16]
    return names.qualified(schema, f"{SENT}_{own}")


def unsent(connection: Connection, what: Projection, stream: Stream, *, wire: str) -> Removal:
    """See ``missing.CountsMissing``: the ids are asked for, so many at once, and kept nowhere."""
    there = 0
    for piece in _pieces(what, stream, wire):
        ids = [raw.id_of(document) for document in raw.documents(piece)]
        there += connection.count(what.table, query.by_ids(ids))
    standing = connection.count(what.table, {})
    # Documents may come and go meanwhile.
    return Removal(max(0, standing - there), standing)


class MongoMissing:
    """See ``missing.Missing``. What is missing is kept in a file."""

    def __init__(
        self,
        connection: Connection,
        what: Projection,
        stream: Stream,
        *,
        wire: str,
        at: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._connection = connection
        self._at = at
        self._sent = sent_beside(connection, what)
        self._file: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        try:
            self._make(what)
            self.sent = self._take(what, stream, wire)
            self.rows = self._find(what)
            self.standing = connection.count(what.table, {})
        except BaseException:
            self.close()
            raise

    def _make(self, what: Projection) -> None:
        """Empty, and with the collation by which ids are the same in the other collection."""
        self._drop()
        found = facts(self._connection, what.table)
        options = {} if found is None else found.options
        more = {"collation": options["collation"]} if "collation" in options else {}
        schema, name = self._connection.split(self._sent)
        self._connection.base(schema).command("create", name, **more)

    def _take(self, what: Projection, stream: Stream, wire: str) -> int:
        taken = 0
        for piece in _pieces(what, stream, wire):
            try:
                taken += self._connection.insert(self._sent, piece, None)
            except BulkWriteError as error:
                raise Mismatch(
                    f"{what.label}: a key came twice from the source, or cannot be kept; "
                    "nothing was deleted"
                ) from error
        if taken != stream.rows:
            raise Mismatch(
                f"{what.label}: the source sent {stream.rows:,} keys, and {taken:,} arrived; "
                "nothing was deleted"
            )
        return taken

    def _find(self, what: Projection) -> int:
        _, sent = self._connection.split(self._sent)
        pipeline: list[dict[str, Any]] = [
            {"$project": {"_id": 1}},
            {"$lookup": {"from": sent, "localField": "_id", "foreignField": "_id", "as": "s"}},
            {"$match": {"s": []}},
            {"$project": {"_id": 1}},
        ]
        mapped = rows.Rows(what) if query.is_mapped(what) else None
        count = 0
        collection = self._connection.collection(what.table)
        more: dict[str, Any] = {"allowDiskUse": True}
        if self._connection.limit is not None:
            more["maxTimeMS"] = self._connection.limit
        with collection.aggregate_raw_batches(pipeline, **more) as cursor:
            for batch in cursor:
                # The driver's types tell of decoded documents, and these are bytes.
                for document in raw.documents(cast("bytes", batch)):
                    key = keys.of(document) if mapped is None else mapped.hash(document).at
                    self._file.write(json.dumps(key) + "\n")
                    count += 1
        return count

    def keys(self, at_once: int) -> Iterator[list[Key]]:
        """See ``missing.Missing``."""
        self._file.seek(0)
        while found := [tuple(json.loads(line)) for line in itertools.islice(self._file, at_once)]:
            yield found

    def close(self) -> None:
        """See ``missing.Missing``."""
        self._file.close()
        with self._at(self._sent):
            self._drop()

    def _drop(self) -> None:
        schema, name = self._connection.split(self._sent)
        self._connection.base(schema).drop_collection(name)


def _pieces(what: Projection, stream: Stream, wire: str) -> Iterator[bytes]:
    """The ids that come, as documents, so many at once."""
    for buffer in stream if wire == relay.WIRE else rows.buffers(stream, what):
        yield from raw.cut(bytes(buffer), _INSERTED, _INSERTED_BYTES)

"""What documents are there: counts, digests and hashes of their bytes, or of rows made of them.

The server has no hash of a document as it is stored, so they come here. The hash is md5 over the
bytes: 1 and 1.0, 0 and -0.0, and fields in another order are different. Where a job maps fields to
columns it is that of the row's canonical texts, as everywhere.

A job may say that the order of fields does not count. Digests are of the bytes then, too: nothing
is taken apart where they are equal. Where they are not, the documents of the batch are compared one
by one, and of each the hash is that of its fields in one order.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pymongo.client_session import ClientSession

from dsp_airflow.engine import compare
from dsp_airflow.engine.documents import ANY_ORDER, BYTES
from dsp_airflow.engine.model import Digest, Key, KeyRange, Projection, RowHash
from dsp_airflow.engine.stores.mongodb import keys, order, query, raw
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.query import is_mapped
from dsp_airflow.engine.stores.mongodb.rows import Rows

_LENGTH: Final = struct.Struct("<i").unpack_from
_SUM: Final = struct.Struct(">q").unpack_from


def digest_of(buffers: Iterable[bytes]) -> Digest:
    """The digest of the documents in these buffers, by their bytes."""
    count = total = 0
    md5 = hashlib.md5
    for buffer in buffers:
        view, at, end = memoryview(buffer), 0, len(buffer)
        while at < end:
            stop = at + _LENGTH(buffer, at)[0]
            total += _SUM(md5(view[at:stop], usedforsecurity=False).digest())[0]
            count += 1
            at = stop
    return Digest(count, total, BYTES)


def digest_as(what: Projection, buffers: Iterable[bytes]) -> Digest:
    """The digest of documents as this projection has them: their bytes, or its fields."""
    return Rows(what).digest(every(buffers)) if is_mapped(what) else digest_of(buffers)


def every(buffers: Iterable[bytes]) -> Iterator[bytes]:
    """The documents in these buffers."""
    for buffer in buffers:
        yield from raw.documents(buffer)


def hashed(document: bytes) -> str:
    """Its hash, in hex."""
    return hashlib.md5(document, usedforsecurity=False).hexdigest()


def compared(document: bytes, what: Projection) -> bytes:
    """What of a whole document is compared: its bytes, in one order if no other one counts."""
    return order.normal(document) if what.method == ANY_ORDER else document


def found(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    listed: Sequence[Key] | None,
    session: ClientSession | None = None,
) -> Iterator[bytes]:
    """Buffers of the matching documents; of their ids alone where nothing else is asked for."""
    part = {"_id": 1} if query.is_ids(what) else None
    if listed is None:
        matching = query.matching(what, within)
        yield from connection.find(what.table, matching, session=session, projection=part)
        return
    for chunk in query.chunks(listed):
        matching = query.matching(what, within, chunk)
        yield from connection.find(
            what.table, matching, session=session, projection=part, ordered=False
        )


def digest(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    listed: Sequence[Key] | None = None,
    session: ClientSession | None = None,
) -> Digest:
    """See ``ports.Digests``."""
    return digest_as(what, found(connection, what, within, listed, session))


def taken(
    connection: Connection, what: Projection, within: KeyRange, session: ClientSession
) -> Digest | None:
    """The digest of a range that is to be deleted; ``None`` where some of it may not be."""
    buffers = found(connection, what, within, None, session)
    if not is_mapped(what):
        return digest_of(buffers)
    rows = Rows(what)
    free = []
    for document in every(buffers):
        row = rows.hash(document)
        if row.kept:
            return None
        free.append(row)
    return compare.digest_of(free)


def hashes(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    listed: Sequence[Key] | None,
    session: ClientSession | None = None,
) -> Iterator[RowHash]:
    """See ``ports.Digests``."""
    rows = Rows(what) if is_mapped(what) else None
    for document in every(found(connection, what, within, listed, session)):
        if rows is not None:
            yield rows.hash(document)
            continue
        key = keys.of(document)
        yield RowHash(key, hashed(compared(document, what)), None, key)


def texts(
    connection: Connection, what: Projection, listed: Sequence[Key]
) -> dict[Key, tuple[str | None, ...]]:
    """The fields; of a whole document the id, and a list of its names and values.

    That is JSON, and exact.
    """
    given: dict[Key, tuple[str | None, ...]] = {}
    rows = Rows(what) if is_mapped(what) else None
    for document in every(found(connection, what, None, listed)):
        if rows is not None:
            key, told = rows.told(document)
            given[key] = told
            continue
        key = keys.of(document)
        fields = [
            [name.decode(errors="surrogateescape"), keys.text(value)]
            for name, value in raw.elements(compared(document, what))
        ]
        given[key] = (key[0], json.dumps(fields))
    return given

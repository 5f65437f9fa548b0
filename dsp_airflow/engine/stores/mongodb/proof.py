"""What documents are there: counts, digests and hashes of their bytes.

The server has no hash of a document as it is stored, so they come here. The hash is md5 over the
bytes: 1 and 1.0, 0 and -0.0, and fields in another order are different.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pymongo.client_session import ClientSession

from dsp_airflow.engine.model import Digest, Key, KeyRange, Projection, RowHash
from dsp_airflow.engine.stores.mongodb import keys, query, raw
from dsp_airflow.engine.stores.mongodb.connection import Connection

METHOD: Final = "bson"
_LENGTH: Final = struct.Struct("<i").unpack_from
_SUM: Final = struct.Struct(">q").unpack_from


def digest_of(buffers: Iterable[bytes]) -> Digest:
    """The digest of the documents in these buffers."""
    count = total = 0
    md5 = hashlib.md5
    for buffer in buffers:
        view, at, end = memoryview(buffer), 0, len(buffer)
        while at < end:
            stop = at + _LENGTH(buffer, at)[0]
            total += _SUM(md5(view[at:stop], usedforsecurity=False).digest())[0]
            count += 1
            at = stop
    return Digest(count, total, METHOD)


def hashed(document: bytes) -> str:
    """Its hash, in hex."""
    return hashlib.md5(document, usedforsecurity=False).hexdigest()


def found(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    listed: Sequence[Key] | None,
    session: ClientSession | None = None,
) -> Iterator[bytes]:
    """Buffers of the matching documents."""
    if listed is None:
        matching = query.matching(what, within)
        yield from connection.find(what.table, matching, session=session)
        return
    for chunk in query.chunks(listed):
        matching = query.matching(what, within, chunk)
        yield from connection.find(what.table, matching, session=session, ordered=False)


def digest(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    listed: Sequence[Key] | None = None,
    session: ClientSession | None = None,
) -> Digest:
    """See ``ports.Digests``."""
    return digest_of(found(connection, what, within, listed, session))


def hashes(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    listed: Sequence[Key] | None,
    session: ClientSession | None = None,
) -> Iterator[RowHash]:
    """See ``ports.Digests``."""
    for buffer in found(connection, what, within, listed, session):
        for document in raw.documents(buffer):
            key = keys.of(document)
            yield RowHash(key, hashed(document), None, key)


def texts(
    connection: Connection, what: Projection, listed: Sequence[Key]
) -> dict[Key, tuple[str | None, ...]]:
    """The id, and the document as a list of its fields' names and values: JSON, and exact."""
    given: dict[Key, tuple[str | None, ...]] = {}
    for buffer in found(connection, what, None, listed):
        for document in raw.documents(buffer):
            key = keys.of(document)
            fields = [
                [name.decode(errors="surrogateescape"), keys.text(value)]
                for name, value in raw.elements(document)
            ]
            given[key] = (key[0], json.dumps(fields))
    return given

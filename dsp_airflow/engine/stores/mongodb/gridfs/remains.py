"""Chunks of a purged file that are too many for one transaction to delete.

What a transaction deletes a server keeps in its cache until the commit. So of a large file it
deletes the document, which is what makes it a file, and leaves the ids of the chunks beside the
bucket. Once that is committed the chunks are deleted by their own ids, by whoever comes first:
what is uploaded anew under the id of the file is not touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pymongo.client_session import ClientSession

from dsp_airflow.engine.stores.mongodb import names, query, raw
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import Bucket
from dsp_airflow.engine.stores.mongodb.gridfs.contents import of_files
from dsp_airflow.engine.stores.mongodb.gridfs.files import File
from dsp_airflow.engine.stores.mongodb.raw import Value

LISTED: Final = 10_000
"""Chunks that one document names,"""
LISTED_BYTES: Final = 4 * 1024 * 1024
"""and the bytes of their ids."""
REMOVED: Final = 500
"""Chunks that are deleted at once."""


def _marks(bucket: Bucket) -> str:
    return names.qualified(bucket.schema, names.MARKERS)


def leave(connection: Connection, bucket: Bucket, file: File, session: ClientSession) -> int:
    """Notes which chunks the file has, in the transaction that deletes its document."""
    count = 0
    for part, ids in enumerate(_parts(_ids(connection, bucket, file, session))):
        own = raw.document(
            [
                ("purged", raw.encoded(bucket.name)),
                ("file", file.id),
                ("part", raw.encoded(part)),
            ]
        )
        mark = raw.document([("_id", Value(0x03, bytes(own.raw))), ("chunks", raw.array(ids))])
        connection.collection(_marks(bucket)).insert_one(mark, session=session)
        count += len(ids)
    return count


def _ids(
    connection: Connection, bucket: Bucket, file: File, session: ClientSession
) -> Iterator[Value]:
    found = connection.find(
        bucket.chunks, of_files([file]), session=session, projection={"_id": 1}, ordered=False
    )
    for buffer in found:
        yield from map(raw.id_of, raw.documents(buffer))


def _parts(ids: Iterator[Value]) -> Iterator[list[Value]]:
    part: list[Value] = []
    size = 0
    for own in ids:
        part.append(own)
        size += len(own.data)
        if len(part) >= LISTED or size >= LISTED_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def clear(connection: Connection, bucket: Bucket) -> None:
    """Deletes the chunks of all large files whose purge has committed. Safe to repeat."""
    marks = connection.collection(_marks(bucket))
    chunks = connection.collection(bucket.chunks)
    matching = {"_id.purged": bucket.name}
    for buffer in connection.find(_marks(bucket), matching, ordered=False, required=False):
        for mark in raw.documents(buffer):
            fields = dict(raw.elements(mark))
            file = dict(raw.elements(fields[b"_id"].data))[b"file"]
            ids = [own for _, own in raw.elements(fields[b"chunks"].data)]
            of_file = {"files_id": raw.document([("$eq", file)])}
            for first in range(0, len(ids), REMOVED):
                chunks.delete_many({**query.by_ids(ids[first : first + REMOVED]), **of_file})
            marks.delete_one(query.by_id(fields[b"_id"]))

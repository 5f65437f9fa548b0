"""Chunks of a purged file that are too many for one transaction to delete.

What a transaction deletes a server keeps in its cache until the commit. So of a large file it
deletes the document, which is what makes it a file, and leaves the ids of the chunks beside the
bucket, with the md5 of each as it was proved. Once that is committed the chunks are deleted by
whoever comes first, some in a transaction that has read them and found them to be the same: what
was changed since, or uploaded anew under the id of the file, stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pymongo.client_session import ClientSession

from dsp_airflow.engine.stores.mongodb import names, query, raw
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import Bucket
from dsp_airflow.engine.stores.mongodb.gridfs.files import File, bytes_of, whole_number
from dsp_airflow.engine.stores.mongodb.gridfs.proof import md5_of
from dsp_airflow.engine.stores.mongodb.raw import Value

LISTED: Final = 10_000
"""Chunks that one document names,"""
LISTED_BYTES: Final = 4 * 1024 * 1024
"""and the bytes of their ids."""
REMOVED_BYTES: Final = 8 * 1024 * 1024
"""Bytes of chunks that are deleted at once, by their size as the file's document has it."""
_MD5: Final = 16


def _marks(bucket: Bucket) -> str:
    return names.qualified(bucket.schema, names.MARKERS)


def leave(connection: Connection, bucket: Bucket, file: File, session: ClientSession) -> int:
    """Notes which chunks of the file were proved, in the transaction that deletes its document."""
    for part, seen in enumerate(_parts(file.seen)):
        own = raw.document(
            [
                ("purged", raw.encoded(bucket.name)),
                ("file", file.id),
                ("part", raw.encoded(part)),
            ]
        )
        mark = raw.document(
            [
                ("_id", Value(0x03, bytes(own.raw))),
                ("size", raw.encoded(file.chunk_size)),
                ("chunks", raw.array([chunk for chunk, _ in seen])),
                ("md5", raw.encoded(b"".join(md5 for _, md5 in seen))),
            ]
        )
        connection.collection(_marks(bucket)).insert_one(mark, session=session)
    return len(file.seen)


def _parts(seen: Sequence[tuple[Value, bytes]]) -> Iterator[Sequence[tuple[Value, bytes]]]:
    first = size = 0
    for n, (own, md5) in enumerate(seen):
        if n - first >= LISTED or size >= LISTED_BYTES:
            yield seen[first:n]
            first, size = n, 0
        size += len(own.data) + len(md5)
    if first < len(seen):
        yield seen[first:]


def clear(connection: Connection, bucket: Bucket) -> None:
    """Deletes the chunks of all large files whose purge has committed. Safe to repeat."""
    marks = connection.collection(_marks(bucket))
    matching = {"_id.purged": bucket.name}
    for buffer in connection.find(_marks(bucket), matching, ordered=False, required=False):
        for mark in raw.documents(buffer):
            fields = dict(raw.elements(mark))
            file = dict(raw.elements(fields[b"_id"].data))[b"file"]
            ids = [own for _, own in raw.elements(fields[b"chunks"].data)]
            md5 = bytes_of(fields[b"md5"]) or b""
            proved = {own: md5[n * _MD5 :][:_MD5] for n, own in enumerate(ids)}
            at_once = max(1, REMOVED_BYTES // max(1, whole_number(fields[b"size"])))
            for first in range(0, len(ids), at_once):
                _delete(connection, bucket, file, ids[first : first + at_once], proved)
            marks.delete_one(query.by_id(fields[b"_id"]))


def _delete(
    connection: Connection,
    bucket: Bucket,
    file: Value,
    ids: Sequence[Value],
    proved: Mapping[Value, bytes],
) -> None:
    """Deletes those of the chunks that are, and stay to the commit, what was proved."""
    of_file = {"files_id": raw.document([("$eq", file)])}
    with connection.client.start_session() as session:
        connection.begin(session)
        found = connection.find(
            bucket.chunks, {**query.by_ids(ids), **of_file}, session=session, ordered=False
        )
        same = [
            raw.id_of(chunk)
            for buffer in found
            for chunk in raw.documents(buffer)
            if md5_of(chunk) == proved.get(raw.id_of(chunk))
        ]
        if same:
            chunks = connection.collection(bucket.chunks)
            chunks.delete_many({**query.by_ids(same), **of_file}, session=session)
        session.commit_transaction()

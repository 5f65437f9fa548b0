"""Files on their way into a target that no transaction can hold: who writes them.

Before the first chunk a document is left beside the target that names the file and its writer.
Every piece is written together with that document, so that of two writers only the last to come
can go on. Chunks without a file and without such a document are another program's upload, and
are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from dsp_airflow.engine.errors import BadValue, Transient
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.mongodb import query, raw
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import Bucket, bucket_of
from dsp_airflow.engine.stores.mongodb.gridfs.contents import of_files
from dsp_airflow.engine.stores.mongodb.gridfs.files import File, comparable
from dsp_airflow.engine.stores.mongodb.raw import Value

ACTIONS: Final = ("find", "insert", "update", "remove")
REMOVED: Final = 100
"""Chunks that are removed at once: a server keeps them in its cache until the commit."""


def _marks(connection: Connection, what: Projection) -> Collection[dict[str, Any]]:
    return connection.collection(what.markers)


def _id(bucket: Bucket, own: Value) -> RawBSONDocument:
    return raw.document([("upload", raw.encoded(bucket.name)), ("file", own)])


def _ids(bucket: Bucket, owned: Iterable[Value]) -> list[Value]:
    return [Value(0x03, bytes(_id(bucket, own).raw)) for own in owned]


def claimed(
    connection: Connection,
    what: Projection,
    files: Iterable[File],
    session: ClientSession | None = None,
) -> set[object]:
    """Which of the files somebody of ours has begun to write; comparable ids."""
    bucket = bucket_of(connection, what.table)
    ids = _ids(bucket, [file.id for file in files])
    found = connection.find(
        what.markers, query.by_ids(ids), session=session, ordered=False, required=False
    )
    return {
        comparable(dict(raw.elements(raw.id_of(document).data))[b"file"])
        for buffer in found
        for document in raw.documents(buffer)
    }


def claim(
    connection: Connection,
    what: Projection,
    own: Value,
    holder: str,
    by: tuple[str, str],
    session: ClientSession | None,
) -> None:
    """From now on the file is ``holder``'s to write."""
    run, job = by
    given = {"holder": holder, "run": run, "job": job, "at": datetime.now(UTC)}
    _marks(connection, what).update_one(
        {"_id": _id(bucket_of(connection, what.table), own)},
        {"$set": given},
        upsert=True,
        session=session,
    )


def hold(
    connection: Connection,
    what: Projection,
    own: Value,
    holder: str,
    session: ClientSession | None,
) -> None:
    """Raises ``Transient`` unless the file still is ``holder``'s, to the end of the transaction."""
    kept = _marks(connection, what).update_one(
        {"_id": _id(bucket_of(connection, what.table), own), "holder": holder},
        {"$inc": {"pieces": 1}},
        session=session,
    )
    if kept.matched_count != 1:
        raise _taken_over(what)


def release(
    connection: Connection,
    what: Projection,
    owned: Sequence[Value],
    holder: str,
    session: ClientSession | None,
) -> None:
    """They are written; ``Transient`` when one was somebody else's by now."""
    bucket = bucket_of(connection, what.table)
    ids = _ids(bucket, owned)
    gone = _marks(connection, what).delete_many(
        {**query.by_ids(ids), "holder": holder}, session=session
    )
    if gone.deleted_count != len(owned):
        raise _taken_over(what)


def _taken_over(what: Projection) -> Transient:
    return Transient(
        f"{what.label}: another worker has taken over a file that was being written; retry"
    )


def clear(
    connection: Connection,
    what: Projection,
    files: Sequence[File],
    session: ClientSession | None,
) -> None:
    """Removes what an earlier writer of ours has left of these files, which are not there.

    Raises ``BadValue`` when chunks are somebody else's.
    """
    if not files:
        return
    bucket = bucket_of(connection, what.table)
    found = connection.find(
        bucket.chunks,
        of_files(files),
        session=session,
        projection={"_id": 0, "files_id": 1},
        ordered=False,
        required=False,
    )
    left = {
        comparable(dict(raw.elements(document)).get(b"files_id"))
        for buffer in found
        for document in raw.documents(buffer)
    }
    ours = claimed(connection, what, files, session)
    for file in files:
        if comparable(file.id) in left - ours:
            raise foreign(what, file)
    gone = [file for file in files if comparable(file.id) in ours]
    if gone:
        ids = _ids(bucket, [file.id for file in gone])
        _marks(connection, what).delete_many(query.by_ids(ids), session=session)
        connection.collection(bucket.chunks).delete_many(of_files(gone), session=session)


def foreign(what: Projection, file: File) -> BadValue:
    """The error for chunks that belong to no file and were not written by us."""
    return BadValue(
        f"{what.label}: the target holds chunks of file {file.key[0]} but no such file: an upload "
        "that is in progress, or was given up. Let it end, or delete its chunks, then retry; "
        "nothing of the file was written"
    )


def forget(connection: Connection, what: Projection, run: str, job: str) -> None:
    """Removes what a job has begun and will not end, as its source no longer has the files.

    Not what another writer has taken over, who may be about to end it.
    """
    bucket = bucket_of(connection, what.table)
    matching: dict[str, Any] = {"_id.upload": bucket.name, "run": run, "job": job}
    for buffer in connection.find(what.markers, matching, ordered=False, required=False):
        for document in raw.documents(buffer):
            own = dict(raw.elements(raw.id_of(document).data))[b"file"]
            while _forgot_some(connection, what, own, (run, job)):
                pass


def _forgot_some(connection: Connection, what: Projection, own: Value, by: tuple[str, str]) -> bool:
    """Whether chunks were removed, after which there may be more; at last the mark goes.

    Whoever takes the file over, or ends it, changes the mark: of both only one can commit.
    """
    bucket, marks = bucket_of(connection, what.table), _marks(connection, what)
    mine = {"_id": _id(bucket, own), "run": by[0], "job": by[1]}
    with _transaction(connection) as session:
        held = marks.update_one(mine, {"$inc": {"pieces": 1}}, session=session)
        if held.matched_count != 1:
            return False
        ids: list[Value] = []
        if connection.count(bucket.files, query.by_id(own), session=session) == 0:
            found = connection.find(
                bucket.chunks,
                {"files_id": raw.document([("$eq", own)])},
                session=session,
                projection={"_id": 1},
                limit=REMOVED,
                ordered=False,
            )
            ids = [raw.id_of(d) for buffer in found for d in raw.documents(buffer)]
        if ids:
            chunks = connection.collection(bucket.chunks)
            chunks.delete_many(query.by_ids(ids), session=session)
        else:
            marks.delete_one(mine, session=session)
    return bool(ids)


@contextmanager
def _transaction(connection: Connection) -> Iterator[ClientSession | None]:
    """``None`` where the server has none."""
    if not connection.transactions:
        yield None
        return
    with connection.client.start_session() as session:
        # Left without a commit, the session takes everything back.
        connection.begin(session)
        yield session
        connection.commit(session)

"""Files and their chunks, as they are read: in groups, and never more than a buffer at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeVar

from pymongo.client_session import ClientSession

from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Key, KeyRange, Projection
from dsp_airflow.engine.stores.mongodb import keys, query, raw
from dsp_airflow.engine.stores.mongodb.connection import BATCH, Connection
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import Bucket, bucket_of
from dsp_airflow.engine.stores.mongodb.gridfs.files import (
    Account,
    File,
    comparable,
    file_of,
    whole_number,
)
from dsp_airflow.engine.stores.mongodb.raw import Value

T = TypeVar("T")
GROUP: Final = 1_000
"""Files whose chunks are asked for at once,"""
GROUP_BYTES: Final = 4 * 1024 * 1024
"""and the bytes of their documents."""
READ_BYTES: Final = 4 * 1024 * 1024
"""Bytes of chunks that are asked for at once, by their size as the files' documents have it."""
IN_ORDER: Final = {"files_id": 1, "n": 1}
_SIZE: Final = {
    "_id": 0,
    "files_id": 1,
    "n": 1,
    "size": {"$cond": [{"$eq": [{"$type": "$data"}, "binData"]}, {"$binarySize": "$data"}, -1]},
}


@dataclass(frozen=True, slots=True)
class Damaged:
    """A file that is not whole, and why."""

    file: File
    reason: str


def documents(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    listed: Sequence[Key] | None = None,
    session: ClientSession | None = None,
) -> Iterator[list[File]]:
    """Groups of matching files, whole or not, in the order of their ids if not ``listed``."""
    table = bucket_of(connection, what.table).files
    if listed is None:
        buffers = connection.find(table, query.matching(what, within), session=session)
        yield from _groups(buffers)
        return
    for chunk in query.chunks(listed):
        matching = query.matching(what, within, chunk)
        yield from _groups(connection.find(table, matching, session=session, ordered=False))


def _groups(buffers: Iterable[bytes]) -> Iterator[list[File]]:
    group: list[File] = []
    size = 0
    for buffer in buffers:
        for document in raw.documents(buffer):
            file = file_of(document)
            group.append(file)
            size += len(document)
            if len(group) >= GROUP or size >= GROUP_BYTES:
                yield group
                group, size = [], 0
    if group:
        yield group


def sorted_out(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    listed: Sequence[Key] | None = None,
    session: ClientSession | None = None,
) -> Iterator[tuple[list[File], list[Damaged]]]:
    """The same groups, those that are whole apart from those that are not."""
    bucket = bucket_of(connection, what.table)
    for group in documents(connection, what, within, listed, session):
        yield parted(connection, bucket, group, session)


def parted(
    connection: Connection,
    bucket: Bucket,
    files: Sequence[File],
    session: ClientSession | None = None,
) -> tuple[list[File], list[Damaged]]:
    """Files that are whole: their chunks, and what an older driver left of their content's md5.

    The server tells the sizes of chunks; read are only files with an md5, and those of which it
    counts more bytes than there are.
    """
    accounts = {comparable(file.id): Account(file) for file in files}
    # A bucket whose files are all empty has no chunks.
    found = connection.find(
        bucket.chunks,
        of_files(files),
        session=session,
        projection=_SIZE,
        order=IN_ORDER,
        required=False,
    )
    for buffer in found:
        for document in raw.documents(buffer):
            fields = dict(raw.elements(document))
            named, n = fields.get(b"files_id"), whole_number(fields.get(b"n"))
            size = int(raw.decoded(fields[b"size"]))
            _owner(accounts, comparable(named), bucket).take(named, n, size)
    reasons = {
        file.id: account.damage() for file, account in zip(files, accounts.values(), strict=True)
    }
    padded = {file.id for file, told in zip(files, accounts.values(), strict=True) if told.padded}
    to_read = [file for file in files if file.id in padded or (file.md5 and not reasons[file.id])]
    for file, chunks in contents(connection, bucket, to_read, session):
        account = Account(file)
        for chunk in chunks:
            account.read(chunk)
        reasons[file.id] = account.damage() or account.wrong_md5()
    whole = [file for file in files if not reasons[file.id]]
    return whole, [Damaged(file, reasons[file.id]) for file in files if reasons[file.id]]


def _owner(known: Mapping[object, T], named: object, bucket: Bucket) -> T:
    found = known.get(named)
    if found is None:
        told = keys.text(named) if isinstance(named, Value) else repr(named)
        raise Refused(
            f"{bucket.label}: a chunk belongs to file {told}, which the server takes for the id of "
            "another file, whose parts are of other types; write the file's own id into the chunk"
        )
    return found


def of_files(files: Iterable[File]) -> raw.Query:
    """Chunks of these files."""
    return {"files_id": raw.document([("$in", raw.array([file.id for file in files]))])}


def contents(
    connection: Connection,
    bucket: Bucket,
    files: Sequence[File],
    session: ClientSession | None = None,
) -> Iterator[tuple[File, Iterator[bytes]]]:
    """Every file with its chunks, as documents in their order.

    The chunks of one file are to be read before the next is asked for.
    """
    if not files:
        return
    known = {comparable(file.id): file for file in files}
    seen: set[object] = set()
    largest = max(file.chunk_size for file in files)
    found = connection.find(
        bucket.chunks,
        of_files(files),
        session=session,
        order=IN_ORDER,
        required=False,
        at_once=max(1, min(BATCH, READ_BYTES // max(1, largest))),
    )
    chunks = (chunk for buffer in found for chunk in raw.documents(buffer))
    for own, group in groupby(chunks, lambda chunk: comparable(_named(chunk))):
        seen.add(own)
        yield _owner(known, own, bucket), group
    for own, file in known.items():
        if own not in seen:
            yield file, iter(())


def _named(chunk: bytes) -> Value | None:
    for name, value in raw.elements(chunk):
        if name == b"files_id":
            return value
    return None

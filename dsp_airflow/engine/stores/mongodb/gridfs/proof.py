"""What files are there: counts, digests and hashes of the bytes of their documents and chunks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from pymongo.client_session import ClientSession

from dsp_airflow.engine.model import Digest, Key, KeyRange, Projection, RowHash
from dsp_airflow.engine.stores.mongodb import keys, query, raw
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.gridfs import split
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import bucket_of
from dsp_airflow.engine.stores.mongodb.gridfs.contents import (
    Damaged,
    contents,
    documents,
    sorted_out,
)
from dsp_airflow.engine.stores.mongodb.gridfs.files import Account, File, whole_number
from dsp_airflow.engine.stores.mongodb.raw import Value

METHOD: Final = "gridfs"


def judged(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    listed: Sequence[Key] | None = None,
    session: ClientSession | None = None,
) -> Iterator[list[tuple[File, str]]]:
    """Groups of the files that take part, each with its hash; every chunk is read once.

    Of a source those that are whole take part, of a target all: damage there is a difference.
    ``session`` is that of a purge, for which the chunks of large files are taken note of.
    """
    bucket = bucket_of(connection, what.table)
    for group in documents(connection, what, within, listed, session):
        found: list[tuple[File, str]] = []
        for file, chunks in contents(connection, bucket, group, session):
            account, md5 = Account(file), hashlib.md5(file.document, usedforsecurity=False)
            seen: list[tuple[Value, bytes]] = []
            for chunk in chunks:
                md5.update(chunk)
                account.read(chunk)
                if session is not None and file.size > split.MOST_BYTES:
                    seen.append((raw.id_of(chunk), md5_of(chunk)))
            if what.markers or not (account.damage() or account.wrong_md5()):
                found.append((replace(file, seen=tuple(seen)), md5.hexdigest()))
        yield found


def md5_of(chunk: bytes) -> bytes:
    """What a chunk is known by."""
    return hashlib.md5(chunk, usedforsecurity=False).digest()


def hashed(document: bytes, chunks: Iterable[bytes]) -> str:
    """The hash of one file: md5 over the bytes of its document and of its chunks, in hex."""
    md5 = hashlib.md5(document, usedforsecurity=False)
    for chunk in chunks:
        md5.update(chunk)
    return md5.hexdigest()


def hash_of(connection: Connection, what: Projection, file: File) -> str:
    """The hash of a file as it stands there."""
    bucket = bucket_of(connection, what.table)
    (found,) = (hashed(f.document, chunks) for f, chunks in contents(connection, bucket, [file]))
    return found


def digest_of(hashes: Iterable[str]) -> Digest:
    """The digest of files of these hashes."""
    count = total = 0
    for found in hashes:
        count += 1
        total += int.from_bytes(bytes.fromhex(found[:16]), "big", signed=True)
    return Digest(count, total, METHOD)


def hashes(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    listed: Sequence[Key] | None = None,
    session: ClientSession | None = None,
) -> Iterator[RowHash]:
    """See ``ports.Digests``."""
    for group in judged(connection, what, within, listed, session):
        for file, found in group:
            yield RowHash(file.key, found, None, file.key)


def digest(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    listed: Sequence[Key] | None = None,
    session: ClientSession | None = None,
) -> Digest:
    """See ``ports.Digests``."""
    return digest_of(row.hash for row in hashes(connection, what, within, listed, session))


def count(connection: Connection, what: Projection, within: KeyRange) -> int:
    """See ``ports.Digests``."""
    if what.markers:
        files = bucket_of(connection, what.table).files
        return connection.count(files, query.matching(what, within))
    return sum(len(whole) for whole, _ in sorted_out(connection, what, within))


def damaged(connection: Connection, what: Projection, within: KeyRange) -> Iterator[Damaged]:
    """Matching files that are not whole."""
    for _, found in sorted_out(connection, what, within):
        yield from found


def texts(
    connection: Connection, what: Projection, listed: Sequence[Key]
) -> dict[Key, tuple[str | None, ...]]:
    """The id, the document's fields, and its chunks by number: JSON, and exact."""
    bucket = bucket_of(connection, what.table)
    given: dict[Key, tuple[str | None, ...]] = {}
    for group in documents(connection, what, None, listed):
        for file, chunks in contents(connection, bucket, group):
            given[file.key] = text_of(file.document, chunks)
    return given


def text_of(document: bytes, chunks: Iterable[bytes]) -> tuple[str, str, str]:
    """The same of one file."""
    fields = [
        [name.decode(errors="surrogateescape"), keys.text(value)]
        for name, value in raw.elements(document)
    ]
    numbered = [[f"chunk {_number(chunk)}", md5_of(chunk).hex()] for chunk in chunks]
    return keys.text(raw.id_of(document)), json.dumps(fields), json.dumps(numbered)


def _number(chunk: bytes) -> int:
    return whole_number(dict(raw.elements(chunk)).get(b"n"))

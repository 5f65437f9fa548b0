"""Buckets of GridFS, made by the driver's own GridFS, and a bench between two of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import gridfs
from bson import ObjectId

from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.mongodb.store import MongoStore
from tests.mongo.harness import MongoBench
from tests.servers import MongoDatabase

CHUNK = 1024


@dataclass(frozen=True)
class Bucket:
    """One bucket of a database."""

    database: MongoDatabase
    name: str = "fs"

    @property
    def files(self) -> Any:
        return self.database[f"{self.name}.files"]

    @property
    def chunks(self) -> Any:
        return self.database[f"{self.name}.chunks"]

    def put(
        self,
        content: bytes,
        filename: str = "a",
        *,
        own: Any = None,
        chunk_size: int = CHUNK,
        **metadata: Any,
    ) -> Any:
        """Uploads a file as any program does; its id."""
        bucket = gridfs.GridFSBucket(self.database.database, self.name)
        own = ObjectId() if own is None else own
        bucket.upload_from_stream_with_id(
            own, filename, content, chunk_size_bytes=chunk_size, metadata=metadata
        )
        return own

    def date(self, own: Any, at: datetime) -> None:
        """Gives a file another date of its upload."""
        self.files.update_one({"_id": own}, {"$set": {"uploadDate": at}})

    def get(self, own: Any) -> bytes:
        """What the driver reads of it."""
        return (
            gridfs.GridFSBucket(self.database.database, self.name).open_download_stream(own).read()
        )

    def remove(self, own: Any) -> None:
        gridfs.GridFSBucket(self.database.database, self.name).delete(own)

    def raw(self) -> tuple[list[bytes], list[bytes]]:
        """All documents as they are stored: of files, and of chunks."""
        return self.database.raw(f"{self.name}.files"), self.database.raw(f"{self.name}.chunks")

    def ids(self) -> set[Any]:
        return set(self.files.distinct("_id"))

    def chunk(self, own: Any, n: int) -> dict[str, Any]:
        found: dict[str, Any] = self.chunks.find_one({"files_id": own, "n": n})
        return found

    def without_indexes(self) -> None:
        """So that a test can plant chunks that no driver leaves."""
        self.chunks.drop_index([("files_id", 1), ("n", 1)])


def content(size: int, seed: str = "") -> bytes:
    """Bytes that look like nothing, the same ones for the same seed."""
    block = b"".join(hashlib.sha256(f"{seed}{n}".encode()).digest() for n in range(32))
    return (block * (size // len(block) + 1))[:size]


@dataclass
class BucketBench(MongoBench):
    """A task between two buckets."""

    logins: dict[str, str] = field(default_factory=dict)
    """Passwords of those that connections log in as: ``files_reader`` and ``files_writer``."""

    def store(self, conn_id: str) -> Store:
        if conn_id not in self.logins:
            return super().store(conn_id)
        database = {"source": self.source, "target": self.target}[conn_id]
        user = {"source": "files_reader", "target": "files_writer"}[conn_id]
        host = database.server.uri(user=user, password=self.logins[conn_id])
        return MongoStore(conn_id, {"host": host}, database.name)

    def job(self, name: str = "copy", table: str = "fs", **more: Any) -> dict[str, Any]:
        return super().job(name, table, **{"gridfs": True, **more})

    def buckets(self, conn_id: str) -> Store:
        """The store as jobs on buckets have it."""
        return self.store(conn_id).having(SessionOptions(files=True))

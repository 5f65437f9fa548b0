"""The open purge transaction on a bucket: the documents of files go first, then their chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dsp_airflow.engine.model import Digest, Key, KeyRange, Projection, RowHash
from dsp_airflow.engine.stores.mongodb import purge, query
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.gridfs import proof, remains, split
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import Bucket, bucket_of, documents_of
from dsp_airflow.engine.stores.mongodb.gridfs.contents import of_files
from dsp_airflow.engine.stores.mongodb.gridfs.files import File
from dsp_airflow.engine.stores.mongodb.leases import Lease


class FilesPurge(purge.MongoPurge):
    """See ``ports.Purge``. Files that are not whole are never taken."""

    def __init__(self, connection: Connection, lease: Lease | None) -> None:
        super().__init__(connection, lease)
        self._bucket: Bucket | None = None
        self._files: dict[Key, File] = {}

    def _take(self, what: Projection, within: KeyRange) -> Digest | None:
        taken = proof.digest_of([])
        # Read to the end first: what is deleted is not read any more.
        for group in list(proof.judged(self._connection, what, within, None, self._session)):
            taken += proof.digest_of([found for _, found in group])
            if self._remove(what, [file for file, _ in group]) != len(group):
                return None
        return taken

    def _found(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        groups = proof.judged(self._connection, what, None, keys, self._session)
        found = [pair for group in groups for pair in group]
        self._files = {file.key: file for file, _ in found}
        return [RowHash(file.key, hashed, None, file.key) for file, hashed in found]

    def _delete_keys(self, what: Projection, keys: Sequence[Key]) -> int:
        """Of files that were found last."""
        return self._remove(what, [self._files[key] for key in keys])

    def _open(self, what: Projection) -> None:
        if self._bucket is None:
            self._bucket = bucket_of(self._connection, what.table)
            remains.clear(self._connection, self._bucket)
        super()._open(what)

    def commit(self) -> None:
        """See ``ports.Purge``. Chunks of large files are deleted after it."""
        super().commit()
        self._connection.view = None
        if self._bucket is not None:
            remains.clear(self._connection, self._bucket)

    def _remove(self, what: Projection, group: Sequence[File]) -> int:
        """How many files went; 0 when other chunks than those that were read went with them."""
        if not group:
            return 0
        files = documents_of(self._connection, what)
        gone = sum(
            self._delete(files, query.matching(files, None, keys))
            for keys in query.chunks([file.key for file in group])
        )
        removed = self._remove_chunks(what, group)
        # A file without bytes may have one chunk, without bytes.
        least = sum(file.chunks for file in group)
        most = least + sum(file.length == 0 for file in group)
        return gone if least <= removed <= most else 0

    def _remove_chunks(self, what: Projection, group: Sequence[File]) -> int:
        bucket = bucket_of(self._connection, what.table)
        chunks = replace(what, table=bucket.chunks)
        small = [file for file in group if file.size <= split.MOST_BYTES]
        removed = sum(
            self._delete(chunks, of_files(small[first : first + query.LISTED]))
            for first in range(0, len(small), query.LISTED)
        )
        return removed + sum(
            remains.leave(self._connection, bucket, file, self._session)
            for file in group
            if file.size > split.MOST_BYTES
        )

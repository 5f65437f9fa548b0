"""The open purge transaction on a bucket: the documents of files go first, then their chunks."""

from __future__ import annotations

from collections.abc import Sequence

from dsp_airflow.engine.model import Digest, Key, KeyRange, Projection, RowHash
from dsp_airflow.engine.stores.mongodb import purge, query
from dsp_airflow.engine.stores.mongodb.gridfs import proof
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import bucket_of, documents_of
from dsp_airflow.engine.stores.mongodb.gridfs.contents import contents, of_files
from dsp_airflow.engine.stores.mongodb.gridfs.files import File


class FilesPurge(purge.MongoPurge):
    """See ``ports.Purge``. Files that are not whole are never taken."""

    def _take(self, what: Projection, within: KeyRange) -> Digest | None:
        taken = proof.digest_of([])
        # Read to the end first: what is deleted is not read any more.
        for group in list(proof.rows(self._connection, what, within, None, self._session)):
            taken += proof.digest_of([row.hash for row in self._hashed(what, group)])
            if self._remove(what, group) != len(group):
                return None
        return taken

    def _found(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        return [
            row
            for group in proof.rows(self._connection, what, None, keys, self._session)
            for row in self._hashed(what, group)
        ]

    def _delete_keys(self, what: Projection, keys: Sequence[Key]) -> int:
        groups = list(proof.rows(self._connection, what, None, keys, self._session))
        return sum(self._remove(what, group) for group in groups)

    def _hashed(self, what: Projection, group: Sequence[File]) -> list[RowHash]:
        bucket = bucket_of(self._connection, what.table)
        return [
            RowHash(file.key, proof.hashed(file.document, chunks), None, file.key)
            for file, chunks in contents(self._connection, bucket, group, self._session)
        ]

    def _remove(self, what: Projection, group: Sequence[File]) -> int:
        """How many files went; 0 when other chunks than those that were read went with them."""
        if not group:
            return 0
        files = documents_of(self._connection, what)
        gone = sum(
            self._delete(files, query.matching(files, None, keys))
            for keys in query.chunks([file.key for file in group])
        )
        bucket = bucket_of(self._connection, what.table)
        chunks = self._connection.collection(bucket.chunks)
        removed = chunks.delete_many(of_files(group), session=self._session).deleted_count
        # A file without bytes may have one chunk, without bytes.
        least = sum(file.chunks for file in group)
        most = least + sum(file.length == 0 for file in group)
        return gone if least <= removed <= most else 0

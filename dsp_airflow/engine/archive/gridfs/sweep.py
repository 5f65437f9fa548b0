"""What broken-off tries have left among a run's files: objects that no index names."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

from dsp_airflow.engine.archive import layout
from dsp_airflow.engine.archive.folder import RunFolder
from dsp_airflow.engine.archive.gridfs.witness import FilesWitness
from dsp_airflow.engine.model import BatchRecord
from dsp_airflow.engine.stores.s3 import Bucket


class Names:
    """Names of objects, as many as there are: on disk, not in memory."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def add(self, keys: Iterable[str]) -> None:
        """Some more."""
        self._database.executemany("INSERT OR IGNORE INTO names VALUES (?)", ((k,) for k in keys))

    def __contains__(self, key: str) -> bool:
        found = self._database.execute("SELECT 1 FROM names WHERE name = ?", (key,))
        return found.fetchone() is not None


@contextmanager
def names() -> Iterator[Names]:
    """A set of names, gone at the end."""
    with (
        tempfile.NamedTemporaryFile(prefix="dsp-names-") as file,
        closing(sqlite3.connect(file.name)) as database,
    ):
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("CREATE TABLE names (name TEXT PRIMARY KEY) WITHOUT ROWID")
        yield Names(database)


def unnamed(bucket: Bucket, folder: str, known: Names) -> Iterator[str]:
    """Objects of the folder that are not among the known ones."""
    return (found.key for found in bucket.list(folder) if found.key not in known)


def sweep(target: RunFolder, records: Iterable[BatchRecord]) -> None:
    """Deletes them. Every batch is recorded, so that nobody writes any more."""
    with names() as known:
        for record in records:
            if record.copied is not None:
                witness = FilesWitness(target.bucket, target.archive, record.copied)
                known.add(e.stored.key for e in witness.entries() if e.stored is not None)
        folder = layout.files_folder(target.archive, target.run)
        for key in unnamed(target.bucket, folder, known):
            target.bucket.delete(key)

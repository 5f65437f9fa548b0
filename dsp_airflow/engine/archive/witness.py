"""One batch of an archive, read back: what a check compares, and a purge proves by.

The object is read as it lies there now, must be byte for byte what was uploaded, and its rows
are then digested from the file. Nothing that the upload reported stands in for that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from dsp_airflow.engine.archive import duck
from dsp_airflow.engine.archive.formats import File
from dsp_airflow.engine.archive.forms import Form
from dsp_airflow.engine.archive.rows import CHOSEN, Choice, chosen_rows
from dsp_airflow.engine.canon.duckdb import duckdb_digest_md5, duckdb_row_hash_md5
from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.model import (
    Archive,
    ArchivedObject,
    Copied,
    Digest,
    Key,
    KeyRange,
    LogicalType,
    LossCount,
    Projection,
    RowHash,
)
from dsp_airflow.engine.ports import Restores
from dsp_airflow.engine.stores.s3 import Bucket

METHOD: Final = "md5"
HASHES: Final = "dsp_hashes"
WANTED: Final = "dsp_wanted"


class Altered(Mismatch):
    """An object is not what was uploaded."""


def require_object(bucket: Bucket, stored: ArchivedObject) -> None:
    """Raises ``Altered`` unless the object that lies there now is this very one.

    Where the bucket keeps versions the version says so; else the name, size and ETag do for a
    look, and only reading it is proof.
    """
    label = bucket.label(stored.key)
    found = bucket.head(stored.key)
    if found is None:
        raise Altered(f"{label} is gone")
    if stored.version is not None and found.version != stored.version:
        raise Altered(f"{label} was overwritten: its version is {found.version} now")
    if found.size != stored.size:
        raise Altered(f"{label} has {found.size:,} bytes, and had {stored.size:,}")
    if found.etag != stored.etag:
        raise Altered(f"{label} was overwritten: its ETag is {found.etag} now")


@contextmanager
def read_back(bucket: Bucket, stored: ArchivedObject) -> Iterator[Path]:
    """The object in a file of its own, byte for byte as uploaded; else ``Altered``."""
    require_object(bucket, stored)
    with tempfile.NamedTemporaryFile(prefix="dsp-archive-") as file:
        size, sha256 = bucket.download(stored.key, file, stored.version)  # type: ignore[arg-type]
        if (size, sha256) != (stored.size, stored.sha256):
            raise Altered(
                f"{bucket.label(stored.key)} is not what was uploaded: its SHA-256 is {sha256}, "
                f"and was {stored.sha256}"
            )
        file.flush()
        yield Path(file.name)


@dataclass
class ArchiveWitness:
    """Implements ``ports.Witness`` for the objects of one batch.

    Reads them when first asked for more than their number of rows.
    """

    bucket: Bucket
    archive: Archive
    forms: tuple[Form, ...]
    width: int
    """Columns of the key."""
    dialect: Restores
    """Of the source, whose words keys are given in."""
    copied: Copied
    columns: tuple[int, ...] | None = None
    """Which of the files' columns take part; see ``Choice``."""
    kinds: tuple[LogicalType, ...] | None = None
    """As which types they are read; ``None`` means their own."""
    keys: Sequence[Key] | None = None
    """Which rows take part."""
    _stack: ExitStack = field(default_factory=ExitStack)
    _files: list[File] | None = None
    _digest: Digest | None = None
    _hashes: Any = None

    def __enter__(self) -> ArchiveWitness:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # What a purge asks

    @contextmanager
    def proving(self, what: Projection) -> Iterator[None]:
        """Reads everything before anything is locked: it takes its time."""
        self.digest(what, None)
        yield

    def require_proving(self, what: Projection) -> None:
        """Objects are held by nobody: ``fingerprint`` tells of those that were altered."""

    def fingerprint(self, table: str) -> str:  # noqa: ARG002
        """The objects as they lie there now; of a bucket without versions, read once more."""
        for stored in self.copied.objects:
            if stored.version is None:
                with read_back(self.bucket, stored):
                    continue
            require_object(self.bucket, stored)
        return self.named()

    def named(self) -> str:
        """What ``fingerprint`` gives while nothing was altered."""
        return ",".join(f"{o.key} {o.version} {o.sha256}" for o in self.copied.objects)

    # Digests

    def digest(
        self, what: Projection, within: KeyRange | None, keys: Sequence[Key] | None = None
    ) -> Digest:
        """Of all rows of the batch, or those of these keys."""
        if keys is not None:
            from dsp_airflow.engine.compare import digest_of

            return digest_of(self.hashes(what, within, keys))
        if self._digest is None:
            total = Digest(0, 0, METHOD)
            for file in self.files():
                total += file_digest(file, self.choice)
            self._digest = total
        return self._digest

    def count(self, what: Projection, within: KeyRange) -> int:
        """Of rows, as far as the objects are still the ones that were uploaded."""
        if self._digest is not None:
            return self._digest.rows
        if self.keys is not None:
            return self.digest(what, within).rows
        for stored in self.copied.objects:
            require_object(self.bucket, stored)
        return sum(stored.rows for stored in self.copied.objects)

    def losses(self, what: Projection, within: KeyRange) -> tuple[LossCount, ...]:  # noqa: ARG002
        """None: files hold what was read."""
        return ()

    def holds_rows(self, what: Projection) -> bool:  # noqa: ARG002
        """Whether there is any."""
        return any(stored.rows for stored in self.copied.objects)

    def hashes(
        self,
        what: Projection,  # noqa: ARG002
        within: KeyRange | None = None,  # noqa: ARG002
        keys: Sequence[Key] | None = None,
        mark: str | None = None,  # noqa: ARG002
    ) -> Iterator[RowHash]:
        """Row by row, keys in the source's words."""
        connection = self._hashed()
        own = ", ".join(f"o{n}" for n in range(self.width))
        query = f"SELECT {own}, h FROM {HASHES}"  # noqa: S608
        if keys is not None:
            self._want(connection, keys)
            query += f" WHERE ({own}) IN (SELECT {own} FROM {WANTED})"  # noqa: S608
        for *key, text in connection.execute(query).fetchall():
            yield RowHash(tuple(key), text, None, tuple(key))

    def texts(self, what: Projection, keys: Sequence[Key]) -> dict[Key, tuple[str | None, ...]]:  # noqa: ARG002
        """The canonical texts of these rows."""
        hashed = self._hashed()
        self._want(hashed, keys)
        own = ", ".join(f"o{n}" for n in range(self.width))
        canonical = ", ".join(f"k{n}" for n in range(self.width))
        rows = hashed.execute(
            f"SELECT {own}, {canonical} FROM {HASHES} "  # noqa: S608
            f"WHERE ({own}) IN (SELECT {own} FROM {WANTED})"
        ).fetchall()
        wanted = {tuple(row[self.width :]): tuple(row[: self.width]) for row in rows}
        if not wanted:
            return {}
        found: dict[Key, tuple[str | None, ...]] = {}
        choice = replace(self.choice, keys=list(wanted))
        for file in self.files():
            with chosen_rows(file, choice) as (connection, _):
                for row in connection.execute(f"SELECT * FROM {CHOSEN}").fetchall():  # noqa: S608
                    found[wanted[tuple(row[: self.width])]] = tuple(row)
        return found

    def files(self) -> list[File]:
        """The objects, each read back into a file of its own; gone when the witness is."""
        if self._files is None:
            self._files = [
                File(
                    path=self._stack.enter_context(read_back(self.bucket, stored)),
                    label=self.bucket.label(stored.key),
                    format=self.archive.format,
                    compression=self.archive.compression,
                    forms=self.forms,
                    largest=stored.largest,
                )
                for stored in self.copied.objects
            ]
        return self._files

    # Helpers

    @property
    def choice(self) -> Choice:
        """What of the files takes part."""
        return Choice(self.width, self.columns, self.keys, self.kinds)

    def _hashed(self) -> Any:
        """A table of every row's key, in both notations, and hash."""
        if self._hashes is not None:
            return self._hashes
        connection = self._stack.enter_context(duck.connect())
        columns = [f"{c}{n} VARCHAR" for c in "ok" for n in range(self.width)]
        connection.execute(f"CREATE TABLE {HASHES} ({', '.join(columns)}, h VARCHAR)")
        for file in self.files():
            with chosen_rows(file, self.choice) as (reading, texts):
                select = [*texts[: self.width], duckdb_row_hash_md5(texts)]
                for batch in duck.selected(reading, select, CHOSEN):
                    own = [self._own(batch.column(n), n) for n in range(self.width)]
                    arrays = [*own, *batch.columns]
                    names = [f"v{n}" for n in range(len(arrays))]
                    connection.register("dsp_batch", pa.Table.from_arrays(arrays, names=names))
                    connection.execute(f"INSERT INTO {HASHES} SELECT * FROM dsp_batch")  # noqa: S608
        self._hashes = connection
        return connection

    def _own(self, column: Any, number: int) -> Any:
        """Key texts as the source prints them."""
        kind = self.forms[number].kind if self.kinds is None else self.kinds[number]
        if kind.name not in self.dialect.own_kinds:
            return column
        own = self.dialect.own_text
        return pa.array([own(text, kind) for text in column.to_pylist()], pa.string())

    def _want(self, connection: Any, keys: Sequence[Key]) -> None:
        names = [f"o{n}" for n in range(self.width)]
        arrays = [pa.array([key[n] for key in keys], pa.string()) for n in range(self.width)]
        connection.register(WANTED, pa.Table.from_arrays(arrays, names=names))


def file_digest(file: File, choice: Choice) -> Digest:
    """Of the rows of a file that take part, read from it."""
    with chosen_rows(file, choice) as (connection, texts):
        ((rows, sums),) = connection.execute(
            f"SELECT count(*), {duckdb_digest_md5(texts)} FROM {CHOSEN}"  # noqa: S608
        ).fetchall()
    return Digest(int(rows), int(sums), METHOD)

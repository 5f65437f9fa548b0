"""An archived run as the source of a copy: its rows read back from the objects, and proved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from dsp_airflow.engine.archive.manifest import ArchivedBatch, Manifest
from dsp_airflow.engine.archive.rows import Choice, chosen_batches
from dsp_airflow.engine.archive.wires import WIRES
from dsp_airflow.engine.archive.witness import METHOD, ArchiveWitness, file_digest
from dsp_airflow.engine.canon import CANON_VERSION
from dsp_airflow.engine.errors import BadValue, Mismatch, Refused
from dsp_airflow.engine.keeps import Keeps, changed, keeps_of
from dsp_airflow.engine.model import (
    Archive,
    Copied,
    Digest,
    Isolation,
    Key,
    KeyRange,
    LogicalType,
    LossCount,
    Origin,
    Projection,
    RowHash,
    Written,
)
from dsp_airflow.engine.ports import Restores, Sifts, Store, Stream, Writes
from dsp_airflow.engine.stores.s3 import S3Store


@dataclass(frozen=True)
class ArchivedRun:
    """Implements ``ports.Opens``: what a restore reads from. Threads share it."""

    store: S3Store
    manifest: Manifest
    target: Store
    """Where the rows go: in its words they are said, and it tells which of them match a filter."""
    columns: tuple[int, ...]
    """Which of the manifest's columns are restored, those of the key first."""
    kinds: tuple[LogicalType, ...]
    """As which types; see ``archive.rereading``."""

    @property
    def name(self) -> str:
        """The connection's id."""
        return self.store.name

    @property
    def identity(self) -> str:
        """Where the connection leads."""
        return self.store.identity

    @contextmanager
    def session(self) -> Iterator[ArchiveReader]:
        """Reads for one thread."""
        with ArchiveReader(self) as reader:
            yield reader


@dataclass
class ArchiveReader:
    """Implements ``ports.CopySource``. What an object holds never changes, or it is not read.

    The batch that was read last is kept in a temporary file, for what is asked of it next.
    """

    run: ArchivedRun
    _stack: ExitStack = field(default_factory=ExitStack)
    _sifting: Any = None
    _last: tuple[KeyRange, ArchiveWitness] | None = None
    _proved: int | None = None
    """The batch whose digest was found to be right last: its bytes cannot be others."""

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()
        self._stack.close()

    @contextmanager
    def snapshot(self, isolation: Isolation = "repeatable_read") -> Iterator[str | None]:  # noqa: ARG002
        """Needs none."""
        yield None

    def horizon(self) -> str | None:
        """Rows of an archive do not grow older."""
        return None

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        """The batch's rows, each value in the target's words."""
        witness = self._witness(what, within)
        self._prove(what, within, witness)
        stream = RowStream(witness, what, self._dialect, wire, max_row_size)
        stream.keeps = self._keeps(what)
        return stream

    def digest(
        self, what: Projection, within: KeyRange | None, keys: Sequence[Key] | None = None
    ) -> Digest:
        """Of the rows as they lie there now; ``Mismatch`` when the manifest knows another one."""
        witness = self._witness(what, within)
        if keys is None:
            self._prove(what, within, witness)
        return witness.digest(what, within, keys)

    def count(self, what: Projection, within: KeyRange) -> int:
        """Of the batch's rows."""
        return self._witness(what, within).count(what, within)

    def losses(self, what: Projection, within: KeyRange) -> tuple[LossCount, ...]:  # noqa: ARG002
        """None: every value comes back."""
        return ()

    def holds_rows(self, what: Projection) -> bool:  # noqa: ARG002
        """Whether the archive has any."""
        return self.run.manifest.rows > 0

    def hashes(
        self,
        what: Projection,
        within: KeyRange | None = None,
        keys: Sequence[Key] | None = None,
        mark: str | None = None,
    ) -> Iterator[RowHash]:
        """Row by row."""
        return self._witness(what, within).hashes(what, within, keys, mark)

    def texts(self, what: Projection, keys: Sequence[Key]) -> dict[Key, tuple[str | None, ...]]:
        """Of rows of the batch that was asked for last: only there they are looked for."""
        if self._last is None:
            raise ValueError("no batch was read")
        return self._last[1].texts(what, keys)

    # Helpers

    @property
    def _dialect(self) -> Restores:
        dialect = self.run.target.dialect
        if not isinstance(dialect, Restores):
            raise Refused(f"rows of an archive cannot be restored to {self.run.target.system}")
        return dialect

    def _keeps(self, what: Projection) -> dict[int, Keeps]:
        """Columns of another type than the archived ones, which keep only some of the values."""
        archived = self.run.manifest.columns
        shape = self.run.manifest.shape
        found: dict[int, Keeps] = {}
        for n, (field_, number) in enumerate(zip(what.fields, self.run.columns, strict=True)):
            mine = shape.column(archived[number].name)
            keeps = keeps_of(self.run.target.system, field_.native, field_.type)
            if keeps is not None and (mine is None or mine.native != field_.native):
                found[n] = keeps
        return found

    def _batch(self, within: KeyRange | None) -> ArchivedBatch:
        batches = self.run.manifest.batches
        found = [b for b in batches if within == KeyRange(b.after, b.upto)]
        if len(found) != 1:
            raise ValueError(f"{within} is no batch of the archive")
        return found[0]

    def _witness(self, what: Projection, within: KeyRange | None) -> ArchiveWitness:
        if within is None:
            raise ValueError("an archive is read by batches")
        if self._last is not None and self._last[0] == within:
            return self._last[1]
        self._let_go()
        made = self._opened(self._batch(within), None)
        if what.where is not None:
            with made as whole:
                self._prove(what, within, whole)
                keys = self._matching(what, whole)
            made = self._opened(self._batch(within), keys)
        self._last = (within, made)
        return made

    def _prove(self, what: Projection, within: KeyRange | None, witness: ArchiveWitness) -> None:
        """``Mismatch`` unless the batch, as a whole, has the digest that the manifest knows.

        Objects may be what was uploaded, and hold what was not in the source: then the check of
        the run that archived them failed, or nobody asked for one.
        """
        manifest, batch = self.run.manifest, self._batch(within)
        if self._proved == batch.number:
            return
        if batch.digest is None or manifest.canon_version != CANON_VERSION:
            # Digests of another version are none of these texts.
            return
        mine = tuple(manifest.columns[n].type for n in self.run.columns)
        whole = len(mine) == len(manifest.columns) and mine == self.run.kinds
        if witness.keys is None and whole:
            found = witness.digest(what, within)
        else:
            found = Digest(0, 0, METHOD)
            for file in witness.files():
                found += file_digest(file, Choice(0))
        if found != batch.digest:
            raise Mismatch(
                f"{what.label}: batch {batch.number} has another digest than its manifest says; "
                "nothing of it was restored"
            )
        self._proved = batch.number

    def _opened(self, batch: ArchivedBatch, keys: Sequence[Key] | None) -> ArchiveWitness:
        manifest = self.run.manifest
        written = Written(batch.rows, batch.rows, origin=Origin(batch.digest))
        return ArchiveWitness(
            bucket=self.run.store.bucket(manifest.bucket),
            archive=Archive(
                manifest.bucket, manifest.prefix, manifest.file_format, manifest.compression
            ),
            forms=manifest.forms(),
            width=len(manifest.key),
            dialect=self._dialect,
            copied=Copied(batch.rows, written, 0, 0.0, batch.objects),
            columns=self.run.columns,
            kinds=self.run.kinds,
            keys=keys,
        )

    def _matching(self, what: Projection, whole: ArchiveWitness) -> list[Key]:
        """Keys of the rows that match the filter, which the target's own server judges."""
        if self._sifting is None:
            session = self._stack.enter_context(self.run.target.session())
            if not isinstance(session, Sifts):
                raise Refused(f"{self.run.target.system} cannot judge which rows match where")
            self._sifting = session
        wire = wire_of(self._dialect, self._sifting, self.run.target.system)
        rows = RowStream(whole, what, self._dialect, wire, None)
        found: list[Key] = self._sifting.matching(what, rows, wire=wire)
        return found

    def _let_go(self) -> None:
        if self._last is not None:
            self._last[1].__exit__()
            self._last = None


def wire_of(dialect: Restores, session: Writes, system: str) -> str:
    """The wire format that archived rows are written in there; ``Refused`` without any."""
    taken = session.loads()
    found = next((wire for wire in dialect.wires if wire in taken), None)
    if found is None:
        raise Refused(f"{system} takes {', '.join(taken)}, none of which is made of archives")
    return found


class RowStream:
    """A batch's rows in a wire format."""

    def __init__(
        self,
        witness: ArchiveWitness,
        what: Projection,
        dialect: Restores,
        wire: str,
        max_row_size: int | None,
    ) -> None:
        self.rows = -1
        self.size = 0
        self.keeps: Mapping[int, Keeps] = {}
        """Columns, by their place, in which not every value would stay as it is."""
        self._witness = witness
        self._what = what
        self._dialect = dialect
        self._joined = WIRES[wire]
        self._limit = max_row_size

    def __iter__(self) -> Iterator[bytes | memoryview]:
        rows = 0
        kinds = [f.type for f in self._what.fields]
        choice = self._witness.choice
        for file in self._witness.files():
            for batch in chosen_batches(file, choice):
                cells = self._cells(batch, kinds)
                self._refuse_large(cells)
                buffer = self._joined(cells)
                rows += batch.num_rows
                self.size += len(buffer)
                yield buffer
        self.rows = rows

    def _cells(self, batch: Any, kinds: Sequence[LogicalType]) -> list[Any]:
        for place, keeps in self.keeps.items():
            self._refuse_changed(batch, place, kinds[place], keeps)
        return [self._dialect.own_cells(batch.column(n), kind) for n, kind in enumerate(kinds)]

    def _refuse_changed(self, batch: Any, place: int, kind: LogicalType, keeps: Keeps) -> None:
        for n, text in enumerate(batch.column(place).to_pylist()):
            if text is not None and (why := changed(text, kind, keeps)):
                key = [batch.column(k)[n].as_py() for k in range(len(self._what.key))]
                field_ = self._what.fields[place]
                raise BadValue(
                    f"{self._what.label}: column {field_.column}, key ({', '.join(key)}): {why}; "
                    f"the target column is {field_.native}. Nothing of the batch was written; "
                    "restore to a new table, and convert there"
                )

    def _refuse_large(self, cells: Sequence[Any]) -> None:
        if self._limit is None:
            return
        from dsp_airflow.engine.archive.csvfiles import largest_row

        largest = largest_row(cells)
        if largest > self._limit:
            raise Refused(
                f"{self._what.label}: a row has {largest:,} bytes, and max_row_size is "
                f"{self._limit:,}; raise it"
            )


def batches_of(manifest: Manifest, numbers: frozenset[int] | None) -> Sequence[ArchivedBatch]:
    """The batches that are asked for; ``Refused`` for a number that the archive has not."""
    found: Mapping[int, ArchivedBatch] = {batch.number: batch for batch in manifest.batches}
    unknown = sorted((numbers or frozenset()) - found.keys())
    if unknown:
        last = max(found, default=0)
        raise Refused(
            f"run {manifest.run} of job {manifest.job} has batches 1 to {last}; there is no batch "
            f"{unknown[0]}"
        )
    return [batch for number, batch in found.items() if numbers is None or number in numbers]

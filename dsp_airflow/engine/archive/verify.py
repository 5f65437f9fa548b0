"""Whether archived runs are what was written: folder, objects and rows against the manifest.

Of the things that may contradict each other the state database's record counts most, where it
knows the run. Without it the manifest does; an object that is as the receipts say, and not as
the manifest does, shows that the manifest was edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dsp_airflow.engine.archive import layout, owner
from dsp_airflow.engine.archive.listing import FoundRun, out_of_place
from dsp_airflow.engine.archive.manifest import (
    ArchivedBatch,
    Manifest,
    apart,
    manifest_from,
    unproved_manifest,
)
from dsp_airflow.engine.archive.objects import Expected, Fetched, fetched, file_of
from dsp_airflow.engine.archive.rows import Choice
from dsp_airflow.engine.archive.verdict import Finding, Verdict
from dsp_airflow.engine.archive.verify_receipts import Entries, contradictions, entries_of
from dsp_airflow.engine.archive.witness import METHOD, file_digest
from dsp_airflow.engine.canon import CANON_VERSION
from dsp_airflow.engine.errors import DspError, Mismatch
from dsp_airflow.engine.model import ArchivedObject, Digest
from dsp_airflow.engine.stores.s3 import Gone

if TYPE_CHECKING:
    from dsp_airflow.engine.archive.formats import File
    from dsp_airflow.engine.archive.gridfs.verify import FileObjects, Seen

FILES: Final = "gridfs"
"""Method of the digests of files."""
GIVE_UP: Final = 3
"""Objects in a row that cannot be read: the rest will not be any better."""
SHOWN: Final = 5
"""Names of fields in one finding."""
_MANIFEST_REMEDY: Final = (
    "put back the one that the run wrote: an earlier version of the object, or clear the run's "
    "copy task in Airflow, which writes it again from the state database"
)


@dataclass(frozen=True, slots=True)
class Record:
    """What the state database says that the folder of a run holds.

    ``manifest`` is ``None`` while not every batch is archived, ``receipts`` (the object's bytes)
    while not every batch is checked.
    """

    manifest: Manifest | None
    receipts: bytes | None


RecordOf = Callable[[FoundRun, Manifest | None], Record | None]
"""``None``: the state database does not know the run."""


def verify(
    runs: Iterable[FoundRun],
    record_of: RecordOf = lambda _run, _manifest: None,
    *,
    quick: bool = False,
    tell: Callable[[ArchivedObject], None] = lambda _: None,
) -> Iterator[Verdict]:
    """A verdict on each run; nothing that is wrong with one hides another.

    ``quick`` looks at names, sizes, versions and ETags; else every object is read. ``tell`` is
    called after each.
    """
    owners: set[str] = set()
    for at in runs:
        work = _Verification(at, quick, tell)
        try:
            work.do(record_of)
            if at.prefix not in owners:
                owners.add(at.prefix)
                work.look_at_owner()
        except DspError as error:
            work.unread(at.label(), error)
        yield work.verdict
        if work.verdict.broken_off:
            return


class _Verification:
    """Of one run."""

    def __init__(self, at: FoundRun, quick: bool, tell: Callable[[ArchivedObject], None]) -> None:
        self.at = at
        self.bucket = at.bucket
        self.quick = quick
        self.tell = tell
        self.verdict = Verdict(at)
        self.entries: Entries | None = None
        """What the receipts say; ``None`` without any."""
        self.blamed: set[int] = set()
        """Batches of which the manifest is known to be wrong."""
        self.misfit = False
        """The files' columns are not those of the manifest."""
        self.in_a_row = 0
        self.files: FileObjects | None = None
        """Of an archive of files, whose indexes name them."""

    def do(self, record_of: RecordOf) -> None:
        """Everything, as far as there is something to go by."""
        told, why = self._told()
        record = record_of(self.at, told)
        expected = self._expected(told, why, record)
        self.verdict.manifest = expected
        if expected is None:
            return
        self.entries = self._receipts(record)
        try:
            one = Expected(expected, self.at)
        except Mismatch as error:
            self._find(self.at.manifest_key, str(error), _MANIFEST_REMEDY)
            return
        with self._of_files(one) as self.files:
            self._folder(one)
            self._objects(one)
            self._unnamed_files(one.manifest)
        source = "the state database" if self.verdict.recorded else "the manifest"
        recorded = record.receipts if record else None
        for what in contradictions(self.entries, expected, recorded, self.blamed, source):
            if why and not self.verdict.recorded:
                # Of an edited manifest that is no wonder.
                self.verdict.notes.append(f"{self.at.label(self.at.receipts_key)}: {what}")
            else:
                self._find(self.at.receipts_key, what, self._which_remedy())

    # What is to be there

    def _told(self) -> tuple[Manifest | None, str]:
        """The manifest as it lies there, and what is wrong with it."""
        label = self.at.label(self.at.manifest_key)
        try:
            data = self.bucket.read(self.at.manifest_key)
        except Gone:
            return None, "is not there"
        why = ""
        try:
            manifest = manifest_from(data, label)
        except Mismatch as error:
            why = str(error).removeprefix(f"{label} ")
            try:
                # What it says now is still the best guess at what the folder holds.
                manifest = unproved_manifest(data, label)
            except Mismatch:
                return None, why
        elsewhere = out_of_place(manifest, self.at)
        return (None, elsewhere) if elsewhere else (manifest, why)

    def _expected(self, told: Manifest | None, why: str, record: Record | None) -> Manifest | None:
        """What counts; whatever is wrong with the manifest is found here."""
        made = None if record is None else record.manifest
        if made is not None:
            self.verdict.recorded = True
            fields = [] if told is None else apart(told, made)
            if fields:
                shown = ", ".join(fields[:SHOWN]) + (", ..." if len(fields) > SHOWN else "")
                why = f"was edited: not as the state database recorded are {shown}"
        elif why and told is None and self._is_unfinished(record):
            self.verdict.notes.append(
                f"{self.at.label()}: the run is not finished, so there is no manifest to verify by"
            )
            return None
        if why:
            missing = why == "is not there"
            remedy = (
                _MANIFEST_REMEDY
                if not missing or made
                else (
                    "finish the run, put the manifest back, or delete the folder if nobody needs it"
                )
            )
            self._find(self.at.manifest_key, why, remedy)
        return made or told

    def _is_unfinished(self, record: Record | None) -> bool:
        return record is not None and self.at.manifest is None

    def _receipts(self, record: Record | None) -> Entries | None:
        """Of each batch what the receipts object says; ``None`` when there is nothing to go by."""
        key = self.at.receipts_key
        try:
            data = self.bucket.read(key)
        except Gone:
            if record is not None and record.receipts is not None:
                self._find(key, "is not there", "clear the run's check task, which writes it again")
            return None
        try:
            return entries_of(data, self.at.run)
        except Mismatch as error:
            self._find(key, str(error), "put back an earlier version of it")
            return None

    # What there is

    def _folder(self, one: Expected) -> None:
        """Objects that nobody named, and uploads that nobody finished."""
        wanted = {stored.key for batch in one.manifest.batches for stored in batch.objects}
        wanted |= {self.at.manifest_key, self.at.receipts_key}
        apart = layout.files_folder(self.at.archive, self.at.run) if self.files else None
        for found in self.bucket.list(one.beneath):
            if apart is not None and found.key.startswith(apart):
                continue
            mine = found.key.startswith(self.at.folder) or one.is_in_folder(found.key)
            if mine and found.key not in wanted:
                self._find(
                    found.key,
                    "is in no manifest",
                    "move it away: whoever reads the folder as a whole would read it too",
                )
        try:
            for upload in list(self.bucket.unfinished(one.beneath)):
                of_a_file = apart is not None and upload.key.startswith(apart)
                if not (of_a_file or one.is_in_folder(upload.key)):
                    continue
                self._find(
                    upload.key,
                    f"has an upload ({upload.id}) that was never finished",
                    "abort it: its parts are stored, and nobody sees them",
                )
        except DspError as error:
            self.verdict.notes.append(f"unfinished uploads were not looked for: {error}")

    def _objects(self, one: Expected) -> None:
        expected = one.manifest
        if expected.bucket != self.bucket.name:
            self.verdict.notes.append(
                f"written to bucket {expected.bucket}, so versions and ETags are not compared"
            )
        digests = expected.canon_version == CANON_VERSION and not self.quick
        if expected.canon_version != CANON_VERSION:
            self.verdict.notes.append(
                f"digests of canon version {expected.canon_version} are not those of this "
                f"version ({CANON_VERSION}): rows are only counted"
            )
        for batch in expected.batches:
            total: Digest | None = Digest(0, 0, FILES if expected.of_files else METHOD)
            for stored in batch.objects:
                part = self._one(one, batch, stored, digests=digests)
                if self.verdict.broken_off:
                    return
                total = None if total is None or part is None else total + part
            if total is not None and not self.quick:
                self._total(batch, total, digests=digests)

    def _one(
        self, one: Expected, batch: ArchivedBatch, stored: ArchivedObject, *, digests: bool
    ) -> Digest | None:
        """An object's rows, or ``None`` when they were not (or could not be) read."""
        why = one.out_of_place(batch, stored)
        if why:
            self._blame(batch, why)
            return None
        try:
            if self.quick:
                self._look(one, stored)
                self._look_at_files(one, batch, stored)
                found = None
            else:
                found = self._read(one, batch, stored, digest=digests and batch.digest is not None)
        except DspError as error:
            self.unread(self.bucket.label(stored.key), error)
            self.in_a_row += 1
            if self.in_a_row == GIVE_UP:
                self.verdict.broken_off = True
                self.verdict.notes.append(
                    f"{GIVE_UP} objects in a row could not be read, so no more were tried"
                )
            return None
        self.in_a_row = 0
        self.verdict.objects += 1
        self.tell(stored)
        return found

    def _look(self, one: Expected, stored: ArchivedObject) -> None:
        """Without reading it."""
        found = self.bucket.head(stored.key)
        if found is None:
            what = "is missing"
        elif found.size != stored.size:
            what = _sizes(found.size, stored)
        elif one.manifest.bucket != self.bucket.name:
            return
        elif stored.version is not None and found.version != stored.version:
            what = f"was overwritten: its version is {found.version}, and was {stored.version}"
        elif found.etag != stored.etag:
            what = f"was overwritten: its ETag is {found.etag}, and was {stored.etag}"
        else:
            return
        self._find(stored.key, what, self._remedy(one, stored))

    def _read(
        self, one: Expected, batch: ArchivedBatch, stored: ArchivedObject, *, digest: bool
    ) -> Digest | None:
        """Byte for byte, then row by row."""
        try:
            with fetched(self.bucket, stored.key) as found:
                self.verdict.size += found.size
                if not found.is_as(stored):
                    self._altered(one, batch, stored, found)
                    return None
                if self.misfit:
                    return None
                file = file_of(found, self.bucket, one, stored)
                try:
                    if self.files is not None:
                        part = self._read_files(one, batch, file)
                        if part is None:
                            return None
                    elif digest:
                        part = file_digest(file, Choice(0))
                    else:
                        rows = sum(rows.num_rows for rows in file.batches())
                        part = Digest(rows, 0, METHOD)
                except Mismatch as error:
                    # Not one by one: every object of the run would say the same.
                    self.misfit = True
                    self._blame(batch, f"describes files of another kind: {error}", stored)
                    return None
        except Gone:
            self._find(stored.key, "is missing", self._remedy(one, stored))
            return None
        self.verdict.rows += part.rows
        if part.rows != stored.rows:
            what = f"says {stored.rows:,} rows, and {stored.key} holds {part.rows:,}"
            self._blame(batch, what, stored)
            return None
        if stored.version is not None and one.manifest.bucket == self.bucket.name:
            self._versions(stored)
        return part

    # Files, which only the indexes name

    @contextmanager
    def _of_files(self, one: Expected) -> Iterator[FileObjects | None]:
        if not one.manifest.of_files:
            yield None
            return
        # Of other archives the driver is not needed.
        from dsp_airflow.engine.archive.gridfs.verify import FileObjects

        with FileObjects(self.bucket, layout.files_folder(self.at.archive, self.at.run)) as found:
            yield found

    def _look_at_files(self, one: Expected, batch: ArchivedBatch, stored: ArchivedObject) -> None:
        """The same without reading them; the index itself has to be read for it."""
        if self.files is None or self.bucket.head(stored.key) is None:
            return
        with fetched(self.bucket, stored.key) as found:
            if not found.is_as(stored):
                self._altered(one, batch, stored, found)
                return
            for each in self.files.named(file_of(found, self.bucket, one, stored)):
                self.verdict.objects += 1
                self._look(one, each)

    def _read_files(self, one: Expected, batch: ArchivedBatch, file: File) -> Digest | None:
        """Every file that an index names; ``None`` when one of them is not what it was."""
        from dsp_airflow.engine.archive.gridfs.verify import digest_of

        if self.files is None:
            raise ValueError("the archive is none of files")
        right: list[Seen] = []
        count = 0
        for seen in self.files.seen(file):
            count += 1
            stored = seen.stored
            self.verdict.objects += 1
            self.verdict.size += seen.size
            if not self.files.is_in_place(stored):
                self._blame(batch, f"names {stored.key}, which is none of the run's files")
            elif isinstance(seen.error, Gone):
                self._find(stored.key, "is missing", self._remedy(one, stored))
            elif seen.error is not None:
                self.unread(self.bucket.label(stored.key), seen.error)
            elif not seen.is_right:
                self._altered(one, batch, stored, Fetched(file.path, seen.size, seen.sha256))
            elif not seen.hashed:
                self._blame(batch, f"says other chunks for {stored.key} than it has bytes for")
            else:
                right.append(seen)
            self.tell(stored)
        return digest_of(right) if len(right) == count else None

    def _unnamed_files(self, manifest: Manifest) -> None:
        """Unless an index could not be read: then nobody knows what it names."""
        indexes = sum(len(batch.objects) for batch in manifest.batches)
        if self.files is None or self.files.read != indexes:
            return
        for key in self.files.unnamed():
            self._find(key, "is in no index", "delete it: a try that broke off has left it")

    def _versions(self, stored: ArchivedObject) -> None:
        found = self.bucket.head(stored.key)
        if found is not None and found.version != stored.version:
            self.verdict.notes.append(
                f"{self.bucket.label(stored.key)}: was written again with the same bytes, as "
                f"version {found.version}"
            )

    def _altered(
        self, one: Expected, batch: ArchivedBatch, stored: ArchivedObject, found: Fetched
    ) -> None:
        if found.sha256 == stored.sha256:
            self._blame(
                batch, f"says {stored.size:,} bytes for {stored.key}: {found.size:,}", stored
            )
            return
        if not self.verdict.recorded and self._receipted(batch, stored) == found.sha256:
            what = f"says another SHA-256 for {stored.key} than the receipts and the object have"
            self._blame(batch, what)
            return
        neighbour = one.by_sha256.get(found.sha256)
        if neighbour is not None:
            what = f"holds what {neighbour.rpartition('/')[2]} is to hold"
        elif found.size != stored.size:
            what = _sizes(found.size, stored)
        else:
            what = f"was altered: its SHA-256 is {found.sha256}, and was {stored.sha256}"
        self._find(stored.key, what, self._remedy(one, stored))

    def _receipted(self, batch: ArchivedBatch, stored: ArchivedObject) -> object:
        """What the receipts say that the object's SHA-256 was."""
        told = (self.entries or {}).get(batch.number, {}).get("objects", ())
        return next((o["sha256"] for o in told if o["key"] == stored.key), None)

    def _total(self, batch: ArchivedBatch, total: Digest, *, digests: bool) -> None:
        """Of a batch whose objects were all read."""
        if total.rows != batch.rows:
            self._blame(batch, f"says {batch.rows:,} rows, and its objects hold {total.rows:,}")
        elif digests and batch.digest is not None:
            self.verdict.digests += 1
            if total != batch.digest:
                self._blame(batch, "says another digest than its rows have")

    def look_at_owner(self) -> None:
        """Whether the folder says whose it is."""
        manifest = self.verdict.manifest
        if manifest is None:
            return
        key = layout.owner_key(self.at.archive)
        found = owner.owner_of(self.bucket, self.at.archive)
        mine = owner.Owner(manifest.task, manifest.job, manifest.source_table)
        if found != mine:
            what = "is not there" if self.bucket.head(key) is None else "names another job"
            self._find(
                key,
                f"{what}: the archive is of job {mine.job} of task {mine.task} on {mine.table}",
                "the job's next run writes it when it is missing; delete a wrong one",
            )

    # Findings

    def _find(self, key: str, what: str, remedy: str) -> None:
        self.verdict.findings.append(Finding(self.bucket.label(key), what, remedy))

    def _blame(self, batch: ArchivedBatch, what: str, stored: ArchivedObject | None = None) -> None:
        """The bytes are what was uploaded, so it is not they that are wrong."""
        self.blamed.add(batch.number)
        if self.verdict.recorded and stored is not None:
            self._find(stored.key, f"the record {what}", "archive its rows anew")
        else:
            self._find(self.at.manifest_key, f"batch {batch.number}: {what}", _MANIFEST_REMEDY)

    def unread(self, label: str, error: DspError) -> None:
        """Could not be looked at, which says nothing about it."""
        what = f"could not be verified: {str(error).removeprefix(f'{label}: ')}"
        self.verdict.findings.append(Finding(label, what, "verify again then", type(error)))

    def _which_remedy(self) -> str:
        if self.verdict.recorded:
            return "put back an earlier version of it, or clear the run's check task"
        return "one of the two was edited: put back an earlier version of that"

    def _remedy(self, one: Expected, stored: ArchivedObject) -> str:
        anew = "bring it back from a copy, or archive its rows anew while the source has them"
        if stored.version is None or one.manifest.bucket != self.bucket.name:
            return anew
        try:
            there = self.bucket.head(stored.key, stored.version)
        except DspError:
            # An edited version may be none at all; then there is nothing to bring back by it.
            there = None
        return anew if there is None else f"bring back its version {stored.version}"


def _sizes(size: int, stored: ArchivedObject) -> str:
    how = "was cut off" if size < stored.size else "was overwritten"
    return f"{how}: it has {size:,} bytes, and had {stored.size:,}"

"""The folder of one run in a bucket: batches in, manifest and receipts, witnesses out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dsp_airflow.engine.archive import layout
from dsp_airflow.engine.archive.formats import format_of
from dsp_airflow.engine.archive.forms import Form
from dsp_airflow.engine.archive.manifest import forms_of
from dsp_airflow.engine.archive.witness import ArchiveWitness
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Archive, ArchivedObject, Claim, Plan
from dsp_airflow.engine.ports import Restores
from dsp_airflow.engine.stores.s3 import Bucket, Conflict, S3Store

if TYPE_CHECKING:
    from dsp_airflow.engine.archive.gridfs.witness import FilesWitness


@dataclass(frozen=True)
class RunFolder:
    """Implements ``ports.Opens``: what an S3 job works on, and its own session.

    Threads share it.
    """

    store: S3Store
    plan: Plan
    run: str
    """As ``Ledger.run`` names it: what an earlier attempt left lies in another folder."""
    dialect: Restores
    """Of the source."""

    @property
    def name(self) -> str:
        """The connection's id."""
        return self.store.name

    @property
    def identity(self) -> str:
        """Where the connection leads."""
        return self.store.identity

    @contextmanager
    def session(self) -> Iterator[RunFolder]:
        """Itself."""
        yield self

    @property
    def archive(self) -> Archive:
        """The plan's own."""
        if self.plan.archive is None:
            raise ValueError(f"job {self.plan.job} is no S3 job")
        return self.plan.archive

    @property
    def bucket(self) -> Bucket:
        """The bucket it lies in."""
        return self.store.bucket(self.archive.bucket)

    @property
    def forms(self) -> tuple[Form, ...]:
        """How its files hold the columns."""
        return forms_of(self.plan)

    def put(
        self,
        claim: Claim,
        batches: Iterable[Any],
        fence: Callable[[], None],
        values: Sequence[str | None] = (),
    ) -> ArchivedObject:
        """Uploads a batch, in place of what an earlier try left under its name.

        Visible only when it is whole, and only if ``fence`` lets it. ``values`` are those of the
        partition whose rows these are.
        """
        bucket, archive = self.bucket, self.archive
        key = layout.batch_key(archive, self.run, claim.batch.number, values)
        before = bucket.head(key)
        chosen = format_of(archive.format)
        with bucket.upload(key, replaces=None if before is None else before.etag) as upload:
            rows, largest = chosen.write(
                upload,  # type: ignore[arg-type]
                batches,
                self.forms,
                archive.compression,
            )
            stored = upload.finish(fence)
        return ArchivedObject(
            key=stored.key,
            size=stored.size,
            sha256=stored.sha256,
            etag=stored.etag,
            version=stored.version,
            rows=rows,
            largest=largest,
        )

    def replace(self, key: str, body: bytes) -> None:
        """A small object of this run, unless it says so already.

        Several workers may come to the same end at once; they say the same.
        """
        bucket = self.bucket
        for _ in range(3):
            before = bucket.head(key)
            if before is not None and bucket.read(key) == body:
                return
            try:
                bucket.put(key, body, replaces=None if before is None else before.etag)
            except Conflict:
                continue
            return
        raise Conflict(f"{bucket.label(key)}: others keep writing it; retry")

    def sweep(self, known: Collection[str]) -> None:
        """Throws away what broken-off tries left of this run. Every batch is recorded.

        That are parts of uploads, and, where rows changed their partition between two tries,
        objects that are not among the ``known`` ones.
        """
        bucket, archive = self.bucket, self.archive
        own = layout.own_names(archive, self.run)
        mine = layout.run_folder(archive, self.run)
        beneath = layout.folder(archive) if archive.partitions else mine
        for upload in list(bucket.unfinished(beneath)):
            if upload.key.startswith(mine) or own.fullmatch(upload.key):
                bucket.abort(upload)
        if archive.partitions:
            for found in list(bucket.list(beneath)):
                match = own.fullmatch(found.key)
                if match and match["name"].startswith("batch=") and found.key not in known:
                    bucket.delete(found.key)

    @property
    def of_files(self) -> bool:
        """Whether files of a bucket are archived, and no rows of a table."""
        return bool(self.archive.name_mode)

    def witness(self, claim: Claim) -> ArchiveWitness | FilesWitness:
        """What lies there of a batch; to be used as a context manager."""
        if claim.copied is None or (claim.copied.written.rows and not claim.copied.objects):
            raise Refused(
                f"batch {claim.batch.number} of job {self.plan.job} has no record of being archived"
            )
        if self.of_files:
            from dsp_airflow.engine.archive.gridfs.witness import FilesWitness

            return FilesWitness(self.bucket, self.archive, claim.copied)
        return ArchiveWitness(
            bucket=self.bucket,
            archive=self.archive,
            forms=self.forms,
            width=len(self.plan.key),
            dialect=self.dialect,
            copied=claim.copied,
        )

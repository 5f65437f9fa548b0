"""Objects of an archive as they lie there now, whatever their versions say."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dsp_airflow.engine.archive import layout
from dsp_airflow.engine.archive.formats import File, extension
from dsp_airflow.engine.archive.forms import Form
from dsp_airflow.engine.archive.listing import FoundRun
from dsp_airflow.engine.archive.manifest import ArchivedBatch, Manifest
from dsp_airflow.engine.model import ArchivedObject
from dsp_airflow.engine.stores.s3 import Bucket


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object in a file of its own, and what was seen of it on the way."""

    path: Path
    size: int
    sha256: str

    def is_as(self, stored: ArchivedObject) -> bool:
        """Whether it is, byte for byte, what was uploaded."""
        return (self.size, self.sha256) == (stored.size, stored.sha256)


@contextmanager
def fetched(bucket: Bucket, key: str) -> Iterator[Fetched]:
    """Downloads the object; the file is gone at the end. ``Gone`` when it is not there."""
    with tempfile.NamedTemporaryFile(prefix="dsp-archive-") as file:
        size, sha256 = bucket.download(key, file)  # type: ignore[arg-type]
        file.flush()
        yield Fetched(Path(file.name), size, sha256)


class Expected:
    """What a manifest says of the objects of its run."""

    def __init__(self, manifest: Manifest, at: FoundRun) -> None:
        self.manifest = manifest
        self._at = at
        self.forms: tuple[Form, ...] = manifest.forms()
        self.by_sha256 = {o.sha256: o.key for b in manifest.batches for o in b.objects}
        self._ending = extension(manifest.file_format, manifest.compression)
        self._own = layout.own_names(replace(at.archive, partitions=manifest.partitions), at.run)

    @property
    def beneath(self) -> str:
        """All names of the run's data begin so, and others too where there are partitions."""
        return layout.folder(self._at.archive) if self.manifest.partitions else self._at.folder

    def is_in_folder(self, key: str) -> bool:
        """Whether an object lies where the run's data do."""
        return self._own.fullmatch(key) is not None

    def out_of_place(self, batch: ArchivedBatch, stored: ArchivedObject) -> str:
        """Why the object cannot be this batch's; empty when it can."""
        match = self._own.fullmatch(stored.key)
        own = f"batch={batch.number}.{self._ending}"
        if match is not None and match["name"] == own:
            return ""
        return f"names {stored.key}, and its rows are in {own} of this run"


def file_of(found: Fetched, bucket: Bucket, expected: Expected, stored: ArchivedObject) -> File:
    """The file as the manifest describes it."""
    return File(
        path=found.path,
        label=bucket.label(stored.key),
        format=expected.manifest.file_format,
        compression=expected.manifest.compression,
        forms=expected.forms,
        largest=stored.largest,
    )

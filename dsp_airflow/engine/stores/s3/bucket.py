"""A bucket: objects in and out as streams, nothing half written, every error translated."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, Final

from dsp_airflow.engine.errors import Denied, Transient
from dsp_airflow.engine.stores.s3.translate import Gone, translating
from dsp_airflow.engine.stores.s3.upload import PART, Upload

CHUNK: Final = 1024 * 1024
TRIES: Final = 3
"""How often a download that broke off is begun again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object that this upload made. ``version`` is ``None`` where none are kept."""

    key: str
    size: int
    etag: str
    version: str | None
    sha256: str


@dataclass(frozen=True, slots=True)
class About:
    """What a new object says of itself: a content type, and metadata of its own."""

    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as it stands there now."""

    key: str
    size: int
    etag: str
    version: str | None = None
    """Told by ``head`` only."""
    modified: datetime | None = field(default=None, compare=False)
    metadata: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Told by ``head`` only, too; not every server keeps it."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A multipart upload that nobody finished (yet)."""

    key: str
    id: str


class Bucket:
    """One bucket of a connection. Threads may share it.

    ``arguments`` go with every new object: storage class, encryption. ``below``: only names below
    this folder are read.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        where: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        part: int = PART,
        below: str | None = None,
    ) -> None:
        self.name = name
        self._below = below
        self._client = client
        self._where = where
        self._arguments = dict(arguments or {})
        self._part = part

    def label(self, key: str) -> str:
        """For messages."""
        return f"s3://{self.name}/{key}"

    def _at(self, key: str) -> Any:
        if self._below is not None and not key.startswith(f"{self._below}/"):
            raise Denied(f"{self._named(key)} is not below {self._below}, and is not read here")
        return translating(self._named(key))

    def _named(self, key: str) -> str:
        return f"{self._where}: {self.label(key)}"

    # Writing

    @contextmanager
    def upload(
        self, key: str, *, replaces: str | None, about: About | None = None
    ) -> Iterator[Upload]:
        """A sink for the object's bytes; leaving without ``finish`` leaves nothing there.

        ``replaces``: the ETag of the object to replace, ``None`` when there is none. Raises
        ``Conflict`` when that is no longer so, where the server knows conditions.
        """
        work = Upload(
            self._client,
            self.name,
            key,
            self._arguments,
            self._named(key),
            replaces=replaces,
            part=self._part,
            about=about,
        )
        try:
            yield work
        finally:
            work.abandon()

    def put(
        self,
        key: str,
        body: bytes,
        *,
        replaces: str | None = None,
        fence: Callable[[], None] = lambda: None,
    ) -> Stored:
        """A small object at once."""
        with self.upload(key, replaces=replaces) as work:
            work.write(body)
            return work.finish(fence)

    def delete(self, key: str, version: str | None = None) -> None:
        """Deletes an object (or one version for good); none being there is fine."""
        with self._at(key):
            self._client.delete_object(Bucket=self.name, Key=key, **_version(version))

    def unfinished(self, prefix: str) -> Iterator[Unfinished]:
        """Uploads below the prefix that were begun and not finished."""
        with self._at(prefix):
            pages = self._client.get_paginator("list_multipart_uploads")
            try:
                for page in pages.paginate(Bucket=self.name, Prefix=prefix):
                    for found in page.get("Uploads", []):
                        yield Unfinished(found["Key"], found["UploadId"])
            except self._client.exceptions.NoSuchUpload:
                # rclone's way to say that there never was any.
                return

    def abort(self, upload: Unfinished) -> None:
        """Throws an unfinished upload away; its having ended meanwhile is fine."""
        try:
            with self._at(upload.key):
                self._client.abort_multipart_upload(
                    Bucket=self.name, Key=upload.key, UploadId=upload.id
                )
        except Transient as error:
            if "NoSuchUpload" not in str(error):
                raise

    # Reading

    def head(self, key: str, version: str | None = None) -> Listed | None:
        """What stands under this name now (or the version), ``None`` when nothing does."""
        try:
            with self._at(key):
                found = self._client.head_object(Bucket=self.name, Key=key, **_version(version))
        except Gone:
            return None
        told = found.get("VersionId")
        return Listed(
            key,
            found["ContentLength"],
            found["ETag"],
            None if told in (None, "null") else told,
            found.get("LastModified"),
            found.get("Metadata", {}),
        )

    def download(self, key: str, sink: BinaryIO, version: str | None = None) -> tuple[int, str]:
        """The whole object into the sink; returns its size and SHA-256 in hex.

        ``Gone`` when it is not there. A download that breaks off is begun again.
        """
        for attempt in range(1, TRIES + 1):
            sink.seek(0)
            sink.truncate()
            try:
                return self._downloaded(key, sink, version)
            except Transient:
                if attempt == TRIES:
                    raise
        raise AssertionError("the last try returns or raises")

    def _downloaded(self, key: str, sink: BinaryIO, version: str | None) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        with self._at(key):
            answer = self._client.get_object(Bucket=self.name, Key=key, **_version(version))
            with closing(answer["Body"]) as body:
                for chunk in body.iter_chunks(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    _spill(sink, chunk)
        if size != answer["ContentLength"]:
            raise Transient(f"{self._named(key)}: the connection was cut after {size:,} bytes")
        return size, digest.hexdigest()

    def read(self, key: str, version: str | None = None) -> bytes:
        """A small object as a whole."""
        sink = io.BytesIO()
        self.download(key, sink, version)
        return sink.getvalue()

    def list(self, prefix: str) -> Iterator[Listed]:
        """All objects below the prefix, by name."""
        with self._at(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.name, Prefix=prefix):
                for found in page.get("Contents", []):
                    yield Listed(
                        found["Key"],
                        found["Size"],
                        found["ETag"],
                        modified=found.get("LastModified"),
                    )

    def folders(self, prefix: str) -> Iterator[str]:
        """The names that begin with the prefix, up to the next slash."""
        with self._at(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.name, Prefix=prefix, Delimiter="/"):
                for found in page.get("CommonPrefixes", []):
                    yield found["Prefix"]

    def versioned(self) -> bool:
        """Whether the bucket keeps the versions of its objects."""
        with self._at(""):
            told = self._client.get_bucket_versioning(Bucket=self.name)
        return bool(told.get("Status") == "Enabled")


def _spill(sink: BinaryIO, chunk: bytes) -> None:
    try:
        sink.write(chunk)
    except OSError as error:
        raise Transient(
            f"the folder for temporary files (TMPDIR) took no more: {error}; make room, then retry"
        ) from error


def _version(version: str | None) -> dict[str, Any]:
    return {} if version is None else {"VersionId": version}

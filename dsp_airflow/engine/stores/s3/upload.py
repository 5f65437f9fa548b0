"""One object on its way up: bounded memory, and nothing under its name until it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import secrets
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import botocore.exceptions as boto

from dsp_airflow.engine.stores.s3.translate import (
    MISSING,
    UNSUPPORTED,
    Conflict,
    code_of,
    translated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dsp_airflow.engine.stores.s3.bucket import About, Stored

log = logging.getLogger(__name__)

PART: Final = 8 * 1024 * 1024
"""Bytes of a part. An object that is smaller goes up in one request."""
IN_FLIGHT: Final = 2
GROW_EVERY: Final = 2_000
"""Parts; there may be 10,000, so later ones are larger."""
MARK: Final = "dsp-upload"
"""Metadata of an object: which upload it comes from."""


class Upload(io.RawIOBase):
    """A sink for the bytes of one object; ``finish`` makes it visible, nothing else does.

    ``replaces`` is the ETag of the object that may be replaced, ``None`` when there must be
    none. Where the server does not know such conditions they are left out.
    """

    def __init__(
        self,
        client: Any,
        bucket: str,
        key: str,
        arguments: Mapping[str, Any],
        where: str,
        *,
        replaces: str | None,
        part: int = PART,
        about: About | None = None,
    ) -> None:
        super().__init__()
        self.size = 0
        self.mark = secrets.token_hex(16)
        self._client = client
        self._at = {"Bucket": bucket, "Key": key}
        self._arguments = {**arguments, **_told(about, self.mark)}
        self._where = where
        self._replaces = replaces
        self._condition = {"IfNoneMatch": "*"} if replaces is None else {"IfMatch": replaces}
        self._part = part
        self._buffer = bytearray()
        self._hash = hashlib.sha256()
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._sent = 0
        self._flying: deque[Future[dict[str, Any]]] = deque()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def sha256(self) -> str:
        """Of all bytes so far, in hex."""
        return self._hash.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self.size += len(view)
        rest = view
        while len(self._buffer) + len(rest) > self._part:
            # What is full goes as it is, without another copy. The last part is not sent before
            # it is known whether there is another: a single one is put in one request.
            room = self._part - len(self._buffer)
            self._buffer += rest[:room]
            rest = rest[room:]
            self._send(self._taken())
        self._buffer += rest
        return len(view)

    def tell(self) -> int:
        return self.size

    def finish(self, fence: Callable[[], None]) -> Stored:
        """Makes the object visible. ``fence`` is called last, and what it raises prevents it."""
        try:
            if self._upload is None:
                body = bytes(self._buffer)
                self._refuse_replaced()
                fence()
                answer = self._conditional(
                    lambda c: self._client.put_object(**self._at, Body=body, **self._arguments, **c)
                )
            else:
                if self._buffer:
                    self._send(self._taken())
                while self._flying:
                    self._landed()
                self._refuse_replaced()
                fence()
                upload = {"UploadId": self._upload, "MultipartUpload": {"Parts": self._parts}}
                answer = self._conditional(
                    lambda c: self._client.complete_multipart_upload(**self._at, **upload, **c)
                )
                self._upload = None
                # Some servers answer with another ETag than the object has from then on.
                answer = self._there() or answer
        except (boto.BotoCoreError, boto.ClientError) as error:
            raise translated(error, self._where) from error
        return self._stored(answer)

    def abandon(self) -> None:
        """Leaves nothing behind, as far as the server can be told; safe to repeat."""
        flying, self._flying = self._flying, deque()
        for future in flying:
            future.cancel()
        if self._pool is not None:
            # A part that lands after the abort would stay.
            self._pool.shutdown(wait=True)
            self._pool = None
        self._buffer = bytearray()
        upload, self._upload = self._upload, None
        if upload is not None:
            try:
                self._client.abort_multipart_upload(**self._at, UploadId=upload)
            except (boto.BotoCoreError, boto.ClientError) as error:
                log.warning("%s: an unfinished upload is left behind: %s", self._where, error)

    def _taken(self) -> bytearray:
        part, self._buffer = self._buffer, bytearray()
        return part

    def _send(self, body: bytearray) -> None:
        try:
            if self._upload is None:
                made = self._client.create_multipart_upload(**self._at, **self._arguments)
                self._upload = made["UploadId"]
                self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="dsp-upload")
            while len(self._flying) >= IN_FLIGHT:
                self._landed()
        except (boto.BotoCoreError, boto.ClientError) as error:
            raise translated(error, self._where) from error
        self._sent += 1
        if self._pool is not None:
            self._flying.append(self._pool.submit(self._put_part, self._sent, body))
        if self._sent % GROW_EVERY == 0:
            self._part *= 2

    def _put_part(self, number: int, body: bytearray) -> dict[str, Any]:
        answer = self._client.upload_part(
            **self._at, UploadId=self._upload or "", PartNumber=number, Body=body
        )
        return {"ETag": answer["ETag"], "PartNumber": number}

    def _landed(self) -> None:
        self._parts.append(self._flying.popleft().result())

    def _conditional(self, send: Callable[[dict[str, Any]], Any]) -> Any:
        try:
            return send(self._condition)
        except boto.ClientError as error:
            if code_of(error) in UNSUPPORTED:
                return send({})
            failure = translated(error, self._where)
            # The answer to an earlier try may have been lost on the way: then it is there.
            if isinstance(failure, Conflict) or code_of(error) == "NoSuchUpload":
                there = self._there()
                if there is not None:
                    return there
            raise

    def _refuse_replaced(self) -> None:
        """Some servers take the condition and do not look at it; what can be seen, is."""
        try:
            etag = self._client.head_object(**self._at)["ETag"]
        except boto.ClientError as error:
            if code_of(error) not in MISSING:
                raise
            etag = None
        if etag != self._replaces:
            raise Conflict(f"{self._where}: somebody else wrote this object meanwhile")

    def _there(self) -> Any | None:
        with contextlib.suppress(boto.ClientError, boto.BotoCoreError):
            found = self._client.head_object(**self._at)
            # Not every server leaves the names as they were given.
            named = {name.lower(): text for name, text in found.get("Metadata", {}).items()}
            if named.get(MARK) == self.mark:
                return found
        return None

    def _stored(self, answer: Any) -> Stored:
        from dsp_airflow.engine.stores.s3.bucket import Stored

        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        return Stored(
            key=self._at["Key"],
            size=self.size,
            etag=answer.get("ETag", ""),
            version=_version(answer),
            sha256=self.sha256,
        )


def _told(about: About | None, mark: str) -> dict[str, Any]:
    if about is None:
        return {"Metadata": {MARK: mark}}
    typed = {} if about.content_type is None else {"ContentType": about.content_type}
    return {**typed, "Metadata": {**about.metadata, MARK: mark}}


def _version(answer: Any) -> str | None:
    found = answer.get("VersionId")
    return None if found in (None, "null") else str(found)

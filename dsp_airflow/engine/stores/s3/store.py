"""An endpoint that speaks S3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dsp_airflow.engine.stores.s3.bucket import Bucket
from dsp_airflow.engine.stores.s3.upload import PART


class S3Store:
    """``connect`` makes the driver's client, which renews its own credentials.

    ``arguments`` go with every new object: ``StorageClass``, ``ServerSideEncryption``,
    ``SSEKMSKeyId``.
    """

    system = "s3"

    def __init__(
        self,
        name: str,
        identity: str,
        connect: Callable[[], Any],
        arguments: Mapping[str, Any] | None = None,
        *,
        part: int = PART,
    ) -> None:
        self.name = name
        self.identity = identity
        self._connect = connect
        self._arguments = dict(arguments or {})
        self._part = part
        self._client: Any | None = None

    def __repr__(self) -> str:
        return f"S3Store({self.name!r}, {self.identity!r})"

    def having(self, options: object) -> S3Store:  # noqa: ARG002
        """Itself: requests have their own patience, and no name."""
        return self

    @property
    def client(self) -> Any:
        """Made once; threads may share it."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def bucket(self, name: str) -> Bucket:
        """A bucket; whether there is one shows when it is used."""
        where = f"connection {self.name} ({self.identity})"
        return Bucket(self.client, name, where, self._arguments, part=self._part)

"""An endpoint that speaks S3."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from dsp_airflow.engine.errors import Denied
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
        self._only: tuple[str, str | None] | None = None

    def __repr__(self) -> str:
        return f"S3Store({self.name!r}, {self.identity!r})"

    def having(self, options: object) -> S3Store:  # noqa: ARG002
        """Itself: requests have their own patience, and no name."""
        return self

    def within(self, bucket: str, folder: str | None) -> S3Store:
        """The same, which reads this folder of this bucket alone (``None``: all of the bucket).

        What a manifest says lies elsewhere is ``Denied``.
        """
        other = copy.copy(self)
        other._only = bucket, folder
        return other

    @property
    def client(self) -> Any:
        """Made once; threads may share it."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def bucket(self, name: str) -> Bucket:
        """A bucket; whether there is one shows when it is used."""
        where = f"connection {self.name} ({self.identity})"
        only, below = self._only or (name, None)
        if name != only:
            raise Denied(f"{where}: bucket {name} is not {only}, and is not read here")
        return Bucket(self.client, name, where, self._arguments, part=self._part, below=below)

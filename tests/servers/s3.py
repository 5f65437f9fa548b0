"""Fresh buckets on S3 servers, and all that lies in them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from dsp_airflow.demo.storage import S3Server, client_of
from dsp_airflow.engine.stores.s3 import Bucket

_numbers = itertools.count(1)
__all__ = ["Place", "S3Server", "client_of", "fresh_bucket"]


@dataclass(frozen=True)
class Place:
    """A fresh bucket of a server."""

    server: S3Server
    name: str

    @property
    def client(self) -> Any:
        return self.server.client()

    @property
    def airflow_connection(self) -> str:
        """An Airflow connection to it, as JSON, that names the bucket."""
        return self.server.airflow_connection(self.name)

    def bucket(self, **changed: Any) -> Bucket:
        part = changed.pop("part", 5 * 1024 * 1024)
        arguments = changed.pop("arguments", None)
        client = self.server.client(**changed)
        return Bucket(client, self.name, "connection archive", arguments, part=part)

    def objects(self) -> dict[str, bytes]:
        """Everything in the bucket."""
        client = self.client
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return {k: client.get_object(Bucket=self.name, Key=k)["Body"].read() for k in keys}

    def uploads(self) -> list[str]:
        """Keys of uploads that are not finished."""
        return [upload.key for upload in self.bucket().unfinished("")]


def fresh_bucket(server: S3Server, *, versioned: bool = False) -> Place:
    """An empty bucket with a name of its own."""
    name = f"bucket-{next(_numbers)}"
    client = server.client()
    client.create_bucket(Bucket=name)
    if versioned:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return Place(server, name)

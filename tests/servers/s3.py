"""S3 servers: moto, which knows most of S3, and rclone, which checks signatures."""

from __future__ import annotations

import itertools
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import boto3
from botocore.config import Config

from dsp_airflow.demo.servers import ServerError, free_port
from dsp_airflow.engine.stores.s3 import Bucket

Kind = Literal["moto", "rclone"]
SCRIPTS = Path(sys.executable).parent
START_SECONDS = 60
_numbers = itertools.count(1)


class S3Server:
    """One S3 server on a free port of 127.0.0.1, stopped by its process id."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.port = free_port()
        self.key, self.secret = "dspkey", secrets.token_hex(12)
        self._folder = Path(tempfile.mkdtemp(prefix="dsp-s3-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._client: Any = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        """The folder of rclone's objects: one folder a bucket, one file an object."""
        return self._folder / "data"

    def __enter__(self) -> Self:
        self.data.mkdir()
        if self.kind == "moto":
            command = [str(SCRIPTS / "moto_server"), "-H", "127.0.0.1", "-p", str(self.port)]
        else:
            command = [str(SCRIPTS / "rclone"), "serve", "s3", str(self.data)]
            command += ["--addr", f"127.0.0.1:{self.port}", "--config", "", "--no-cleanup"]
            command += ["--auth-key", f"{self.key},{self.secret}", "--vfs-cache-mode", "off"]
        log = (self._folder / "log").open("wb")
        with log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        give_up = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    text = (self._folder / "log").read_text()[-1000:]
                    self.__exit__(None, None, None)
                    raise ServerError(f"{self.kind} did not start: {text}") from None
                time.sleep(0.05)
            else:
                return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def client(self, **changed: Any) -> Any:
        """A plain client with the server's own key; the same one, unless it is to be special."""
        if changed:
            return self._made(**changed)
        if self._client is None:
            self._client = self._made()
        return self._client

    def _made(self, **changed: Any) -> Any:
        return client_of(self.endpoint, self.key, self.secret, **changed)


def client_of(endpoint: str, key: str, secret: str, **changed: Any) -> Any:
    """A client of its own, as a connection would give it."""
    config = Config(
        s3={"addressing_style": "path"},
        retries={"mode": "standard", "total_max_attempts": changed.pop("attempts", 4)},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=5,
        read_timeout=changed.pop("read_timeout", 30),
    )
    arguments = {
        "endpoint_url": endpoint,
        "region_name": "us-east-1",
        "aws_access_key_id": key,
        "aws_secret_access_key": secret,
        "config": config,
    }
    session: Any = boto3.session.Session()
    return session.client("s3", **(arguments | changed))


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
        extra = {
            "endpoint_url": self.server.endpoint,
            "region_name": "us-east-1",
            "config_kwargs": {"s3": {"addressing_style": "path"}},
            "service_config": {"s3": {"bucket_name": self.name}},
        }
        login = {"login": self.server.key, "password": self.server.secret}
        return json.dumps({"conn_type": "aws", **login, "extra": extra})

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

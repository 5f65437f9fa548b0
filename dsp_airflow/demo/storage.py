"""Throwaway S3 servers: moto, which knows most of S3, and rclone, which checks signatures."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Any, Literal

from dsp_airflow.demo.process import HOST, Server, refused

Kind = Literal["moto", "rclone"]
SCRIPTS = Path(sys.executable).parent
REGION = "us-east-1"


class S3Server(Server):
    """One S3 server on a free port of 127.0.0.1, stopped by its process id."""

    prefix = "dsp-s3-"

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = self.product = kind
        self.key, self.secret = "dspkey", secrets.token_hex(12)
        self._client: Any = None

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    @property
    def data(self) -> Path:
        """The folder of rclone's objects: one folder a bucket, one file an object."""
        return self.folder / "data"

    def _prepare(self) -> None:
        self.data.mkdir()

    def _command(self) -> list[str]:
        if self.kind == "moto":
            return [str(SCRIPTS / "moto_server"), "-H", HOST, "-p", str(self.port)]
        command = [str(SCRIPTS / "rclone"), "serve", "s3", str(self.data)]
        command += ["--addr", f"{HOST}:{self.port}", "--config", "", "--no-cleanup"]
        return [*command, "--auth-key", f"{self.key},{self.secret}", "--vfs-cache-mode", "off"]

    def _silence(self) -> str:
        return refused(self.port)

    def airflow_connection(self, bucket: str) -> str:
        """An Airflow connection to it, as JSON, that names the bucket."""
        extra = {
            "endpoint_url": self.endpoint,
            "region_name": REGION,
            "config_kwargs": {"s3": {"addressing_style": "path"}},
            "service_config": {"s3": {"bucket_name": bucket}},
        }
        login = {"login": self.key, "password": self.secret}
        return json.dumps({"conn_type": "aws", **login, "extra": extra})

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
    import boto3
    from botocore.config import Config

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
        "region_name": REGION,
        "aws_access_key_id": key,
        "aws_secret_access_key": secret,
        "config": config,
    }
    session: Any = boto3.session.Session()
    return session.client("s3", **(arguments | changed))

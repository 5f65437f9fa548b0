"""Opening a connection to MySQL or MariaDB, with what every session of ours needs."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import MySQLdb

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.mysql import translate
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, quoted, texts

CONNECT: Final = {"connect_timeout": 10}
"""May be given otherwise by the Airflow connection."""

# Bytes as the server renders them, one statement at a time, rows affected counted when changed.
_DRIVER: Final[Mapping[str, Any]] = {
    "conv": {},
    "use_unicode": False,
    "charset": "utf8mb4",
    "collation": "utf8mb4_bin",
    "autocommit": True,
    # 2: files are sent in answer to a LOAD of ours only, not to whatever a server asks for.
    "local_infile": 2,
    "multi_statements": False,
    "client_flag": 0,
}

# A value that does not fit is an error on every engine, 0 in an AUTO_INCREMENT column stays 0, and
# dates that were once written may be copied: 0000-00-00, 2024-00-00, 2024-02-30. No mode that gives
# quotes, backslashes or || another meaning, or pads CHAR, is on.
MODES: Final = (
    "STRICT_TRANS_TABLES,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,"
    "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"
)
_MARIADB_MODES: Final = f"{MODES},TIME_ROUND_FRACTIONAL"
"""MySQL and PostgreSQL round fractions of seconds; MariaDB would cut them off."""

PATIENCE: Final = 3600
"""Seconds that server and session wait for a slow other end."""
_ALL: Final = 2**64 - 1

SETTINGS: Final[Mapping[str, str]] = {
    "time_zone": "'+00:00'",
    "autocommit": "1",
    "foreign_key_checks": "1",
    "unique_checks": "1",
    "check_constraint_checks": "1",
    "sql_safe_updates": "0",
    "sql_auto_is_null": "0",
    "sql_big_selects": "1",
    "sql_quote_show_create": "1",
    "sql_notes": "1",
    "group_concat_max_len": str(2**30),
    "completion_type": "0",
    "lc_messages": "'en_US'",
    "default_storage_engine": "InnoDB",
    "net_read_timeout": str(PATIENCE),
    "net_write_timeout": str(PATIENCE),
    "wait_timeout": str(PATIENCE),
    "idle_transaction_timeout": str(PATIENCE),
    # Estimates of sizes as they are, not as they were a day ago.
    "information_schema_stats_expiry": "0",
    "query_cache_type": "0",
}
"""Set where the server has them, whatever its own defaults and its init_connect say."""

# Off, NULL for a TIMESTAMP column that takes none would become the current time.
_EXPLICIT: Final = "explicit_defaults_for_timestamp"
_FIXED: Final = 1238
_NO_FUNCTION: Final = 1305


def connect(arguments: Mapping[str, Any], options: SessionOptions, where: str) -> Connection:
    """A connection of ours; ``where`` names it in errors. ``arguments`` are mysqlclient's.

    Raises ``Denied``, ``ConfigError`` or ``Transient``.
    """
    try:
        connection = Connection(**{**CONNECT, **arguments, **_DRIVER})
    except MySQLdb.Error as error:
        raise translate.unreachable(error, where) from error
    try:
        with translate.translating(where, options):
            _keep_alive(connection)
            _settle(connection, options)
            _encrypted(connection, arguments.get("ssl_mode"), where)
    except BaseException:
        connection.close()
        raise
    return connection


def identity(arguments: Mapping[str, Any]) -> str:
    """Where it leads: ``host:port/schema``, or the socket's path in place of host and port."""
    place = f"{arguments.get('host') or 'localhost'}:{arguments.get('port') or 3306}"
    if arguments.get("unix_socket"):
        place = str(arguments["unix_socket"])
    return f"{place}/{arguments.get('database') or ''}"


def is_mariadb(connection: Connection) -> bool:
    """Whether the server is MariaDB, also behind a proxy that greets otherwise."""
    return _mariadb(one(connection, "SELECT version()")[0])


def _mariadb(version: str | None) -> bool:
    return "mariadb" in str(version).lower()


def _settle(connection: Connection, options: SessionOptions) -> None:
    connection.called(options.name)
    # Before anything is asked. Not DEFAULT: that is the server's own setting, which may be a limit.
    execute(connection, f"SET SESSION sql_select_limit = {_ALL}")
    version, packet = one(connection, "SELECT version(), @@max_allowed_packet")
    connection.packet = int(packet or 0)
    if not _mariadb(version):
        _require_md5(connection)
    wanted = {
        **SETTINGS,
        "sql_mode": quoted(connection, _MARIADB_MODES if _mariadb(version) else MODES),
        **_limits(options),
    }
    names = ", ".join(f"'{name}'" for name in (*wanted, _EXPLICIT))
    found = texts(connection, f"SHOW SESSION VARIABLES WHERE Variable_name IN ({names})")
    there = {str(name): value for name, value in found}
    execute(connection, "SET NAMES utf8mb4 COLLATE utf8mb4_bin")
    execute(connection, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
    assignments = [f"{name} = {value}" for name, value in wanted.items() if name in there]
    execute(connection, f"SET SESSION {', '.join(assignments)}")
    if there.get(_EXPLICIT) == "OFF":
        try:
            execute(connection, f"SET SESSION {_EXPLICIT} = 1")
        except MySQLdb.Error as error:
            # MariaDB before 10.8 has it fixed at its start; check-connection tells.
            if translate.number(error) != _FIXED:
                raise


def _require_md5(connection: Connection) -> None:
    """Rows are compared by it, and MySQL has it in a component of its own since 9.6."""
    try:
        execute(connection, "SELECT MD5('')")
    except MySQLdb.Error as error:
        if translate.number(error) != _NO_FUNCTION:
            raise
        raise ConfigError(
            "the server has no function MD5, which every digest needs; an administrator adds it "
            "with INSTALL COMPONENT 'file://component_classic_hashing' (it comes with MySQL)"
        ) from error


def _limits(options: SessionOptions) -> dict[str, str]:
    """The ends of waits. Either server has its own name, and unit, for a statement's."""
    year = 31_536_000
    lock = min(max(1, -(-options.lock // timedelta(seconds=1))), year)
    statement = timedelta() if options.statement is None else options.statement
    milliseconds = min(-(-statement // timedelta(milliseconds=1)), 2**32 - 1)
    return {
        "innodb_lock_wait_timeout": str(lock),
        "lock_wait_timeout": str(lock),
        "max_execution_time": str(milliseconds),
        "max_statement_time": f"{min(milliseconds / 1000, year):.3f}",
    }


def _encrypted(connection: Connection, mode: str | None, where: str) -> None:
    """One of the driver's libraries takes REQUIRED for a wish where the server has no TLS."""
    if mode in {None, "DISABLED", "PREFERRED"}:
        return
    [(_, cipher)] = texts(connection, "SHOW SESSION STATUS LIKE 'Ssl_cipher'")
    if not cipher:
        raise ConfigError(
            f"{where}: the server does not offer TLS, and ssl_mode is {mode}; switch it on there, "
            "or correct ssl_mode in the extra field"
        )


def _keep_alive(connection: Connection) -> None:
    """Lets a peer that vanished be noticed after a minute, not after hours."""
    with socket.socket(fileno=os.dup(connection.fileno())) as peer:
        if peer.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

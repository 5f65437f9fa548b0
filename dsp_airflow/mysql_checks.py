"""What looking at a connection to MySQL or MariaDB finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from dsp_airflow.engine.errors import DspError
from dsp_airflow.findings import CHECK, Finding, clock, unreachable
from dsp_airflow.mysql import mysql_arguments

if TYPE_CHECKING:
    from dsp_airflow.engine.stores.mysql.query import Connection

OLDEST: Final = {"MySQL": (8, 0), "MariaDB": (10, 6)}
_VARIABLES: Final = (
    "binlog_format",
    "default_storage_engine",
    "innodb_flush_log_at_trx_commit",
    "innodb_read_only",
    "local_infile",
    "log_bin",
    "lower_case_table_names",
    "max_allowed_packet",
    "read_only",
    "sql_mode",
    "super_read_only",
    "system_time_zone",
    "time_zone",
    "version",
    "version_comment",
)
_CASES: Final = {
    "0": "upper and lower case differ",
    "1": "stored in lower case",
    "2": "compared in lower case",
}
_TARGET: Final = "if this is a target: "
_PURGED: Final = "if a job purges here: "
_WANTED: Final = (
    ("SELECT", "needed by every job", ""),
    ("INSERT", "needed in a target", _TARGET),
    ("UPDATE", "needed in a target", _TARGET),
    (
        "DELETE",
        "needed to purge, and in dsp_commits beside a target",
        "if this is a target, or a job purges here: ",
    ),
    ("CREATE", "needed where a target table, or dsp_commits beside it, is missing", _TARGET),
    ("CREATE TEMPORARY TABLES", "needed to write into a table that holds rows", _TARGET),
    ("TRIGGER", "needed to purge: to see what a delete sets off", _PURGED),
    (
        "PROCESS",
        (
            "needed to purge: a foreign key of a table that this login may not read is not seen "
            "otherwise, and its ON DELETE CASCADE deletes there"
        ),
        _PURGED,
    ),
)
_SUBJECTS: Final = {
    "CREATE TEMPORARY TABLES": "temporary tables",
    "TRIGGER": "seeing triggers",
    "PROCESS": "seeing foreign keys",
}
_FULL: Final = frozenset({"SUPER", "ALL PRIVILEGES"})


def check_mysql(conn_id: str) -> list[Finding]:
    """Looks at a connection as a job would use it, up to the first thing that makes it useless."""
    from dsp_airflow.engine.stores.mysql import login, translate

    arguments = mysql_arguments(conn_id)
    identity = login.identity(arguments)
    try:
        connection = login.connect(arguments, CHECK, f"connection {conn_id} ({identity})")
    except DspError as error:
        return [unreachable(error)]
    found = [Finding("reachable", "ok", identity)]
    try:
        with translate.translating(f"connection {conn_id}"):
            found += _session(connection)
            found += _server(connection)
            found += _privileges(connection)
    except DspError as error:
        found.append(Finding("questions", "failed", str(error), "see the server's log"))
    finally:
        connection.close()
    return found


def _session(connection: Connection) -> Iterator[Finding]:
    from dsp_airflow.engine.stores.mysql.query import one, texts

    user, database = one(connection, "SELECT current_user(), database()")
    named = f"database {database}" if database else "no database: name tables with theirs"
    yield Finding("login", "ok", f"{user}, {named}")
    cipher = dict(_pairs(texts(connection, "SHOW SESSION STATUS LIKE 'Ssl_cipher'")))
    yield Finding(
        "encryption",
        "ok",
        "TLS" if cipher.get("Ssl_cipher") else "none; set ssl_mode to REQUIRED in the extra field",
    )
    (now,) = one(connection, "SELECT utc_timestamp(6)")
    yield clock(abs(datetime.now(UTC) - datetime.fromisoformat(str(now)).replace(tzinfo=UTC)))
    name = "explicit_defaults_for_timestamp"
    explicit = dict(_pairs(texts(connection, f"SHOW SESSION VARIABLES LIKE '{name}'")))
    if explicit.get(name) == "OFF":
        yield Finding(
            "timestamps",
            "warning",
            f"{name} is off, and sessions may not switch it on: NULL written to a TIMESTAMP "
            "column that is NOT NULL becomes the current time",
            f"if this is a target: start the server with {name} = 1",
        )


def _pairs(rows: list[tuple[str | None, ...]]) -> list[tuple[str, str]]:
    return [(str(name), value or "") for name, value in rows]


def _server(connection: Connection) -> Iterator[Finding]:
    """The server as it is, not as sessions of jobs set it."""
    from dsp_airflow.engine.stores.mysql.query import texts

    names = ", ".join(f"'{name}'" for name in _VARIABLES)
    rows = texts(connection, f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
    told = dict(_pairs(rows))
    yield version(told["version"], told.get("version_comment", ""))
    zone = told["time_zone"]
    zone = f"{zone} ({told['system_time_zone']})" if zone == "SYSTEM" else zone
    yield Finding("time zone", "ok", f"{zone}; sessions of jobs use UTC")
    modes = told["sql_mode"].replace(",", ", ") or "none"
    yield Finding("sql_mode", "ok", f"{modes}; sessions of jobs have their own")
    engine = told.get("default_storage_engine", "")
    yield Finding("storage engine", "ok", f"{engine}; jobs create tables in InnoDB")
    case = told.get("lower_case_table_names", "")
    yield Finding("names of tables", "ok", _CASES.get(case, case))
    yield from _writing(told)


def _writing(told: dict[str, str]) -> Iterator[Finding]:
    if told.get("local_infile") == "ON":
        yield Finding("local_infile", "ok", "on")
    else:
        yield Finding(
            "local_infile",
            "warning",
            "off: rows are written by INSERT, which is slower",
            "if this is a target: SET GLOBAL local_infile = 1",
        )
    packet = int(told["max_allowed_packet"])
    yield Finding(
        "max_allowed_packet", "ok", f"{packet / 2**20:g} MiB; larger rows are not written"
    )
    binlog = told.get("binlog_format", "ROW")
    if told.get("log_bin") == "ON" and binlog == "STATEMENT":
        yield Finding(
            "binary log",
            "warning",
            "binlog_format is STATEMENT: InnoDB refuses what jobs write under READ COMMITTED",
            "if this is a target, or a job purges here: SET GLOBAL binlog_format = 'ROW'",
        )
    else:
        yield Finding("binary log", "ok", binlog if told.get("log_bin") == "ON" else "off")
    flushed = told.get("innodb_flush_log_at_trx_commit", "1")
    if flushed != "1":
        yield Finding(
            "durability",
            "warning",
            f"innodb_flush_log_at_trx_commit is {flushed}: a crash of the machine loses commits "
            "of the last second, also of rows that were then purged at their source",
            "if this is a target: SET GLOBAL innodb_flush_log_at_trx_commit = 1",
        )
    kinds = [name for name in ("read_only", "super_read_only", "innodb_read_only") if name in told]
    # MariaDB 12 has words for the kinds of it.
    if on := [name for name in kinds if told[name] not in {"OFF", "0", ""}]:
        yield Finding(
            "role of the server",
            "warning",
            f"{', '.join(on)} is on: it can only be read",
            "use it as a source without purge; name the primary for anything else",
        )


def version(text: str, comment: str) -> Finding:
    """The finding on a server that calls itself so."""
    if "oceanbase" in f"{text} {comment}".lower():
        return Finding(
            "version",
            "warning",
            f"OceanBase ({comment or text}), in MySQL's protocol: not tested",
            "try a copy with a full check first, and a purge last",
        )
    kind = "MariaDB" if "mariadb" in text.lower() else "MySQL"
    numbers = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)(?:\.\d+)?", text)
    named = f"{kind} {numbers[0].removeprefix('5.5.5-') if numbers else text}"
    oldest = OLDEST[kind]
    if numbers is None or (int(numbers[1]), int(numbers[2])) < oldest:
        remedy = f"use {kind} {'.'.join(map(str, oldest))} or later"
        return Finding("version", "failed", named, remedy)
    return Finding("version", "ok", named)


def _privileges(connection: Connection) -> Iterator[Finding]:
    """What the login may do in general; tables are looked at by the plan of a job."""
    from dsp_airflow.engine.stores.mysql.grants import held
    from dsp_airflow.engine.stores.mysql.query import one

    user, chosen = one(connection, "SELECT current_user(), database()")
    schema, whom = chosen or "", _account(str(user))
    grants = held(connection, schema)
    for privilege, why, wanted in _WANTED:
        subject = _subject(privilege, schema)
        named = grants.on_tables(privilege)
        if named and privilege not in grants.schema:
            some = f"{len(named)} tables" if len(named) > 1 else f"table {named[0]}"
            yield Finding(subject, "ok", f"allowed on {some} by name")
        elif privilege in grants.schema:
            yield Finding(subject, "ok", "allowed")
        else:
            database = _quoted(schema) if schema else "<database>"
            everywhere = "*" if privilege == "PROCESS" else database
            remedy = f"{wanted}GRANT {privilege} ON {everywhere}.* TO {whom}"
            yield Finding(subject, "warning", f"not allowed; {why}", remedy)
    if grants.everywhere & _FULL:
        yield Finding(
            "privileges",
            "warning",
            f"{user} may do everything, which is more than any job needs",
            "use a login that may only read the source, or write the target",
        )


def _subject(privilege: str, schema: str) -> str:
    if privilege in _SUBJECTS:
        return _SUBJECTS[privilege]
    return f"{privilege.lower()} in {schema or 'any database'}"


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _account(user: str) -> str:
    name, _, host = user.rpartition("@")
    return f"'{name}'@'{host}'"

"""Airflow Connections to stores: the only reader of secrets.

The providers' hooks build the driver's arguments, so whatever they understand (TLS, IAM,
service files, session options) works here as it does in any other operator. Airflow and the
providers are imported when a connection is first opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, LiteralString, cast

from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Transient
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.ports import Store
from dsp_airflow.findings import Finding

if TYPE_CHECKING:
    import psycopg

CHECK = SessionOptions("dsp:check-connection")
CLOCK_TOLERANCE = timedelta(seconds=5)
OLDEST = 130_000
"""Server version number of PostgreSQL 13, the oldest that is supported."""

# Set by the store itself, or without meaning for it.
_NOT_OURS = frozenset({"autocommit", "context", "cursor_factory", "prepare_threshold"})


def open_store(conn_id: str) -> Store:
    """The store of an Airflow connection; nothing is connected yet.

    Raises ``ConfigError`` when there is no such connection or its type is not supported.
    """
    connection = _airflow_connection(conn_id)
    kind = str(connection.conn_type or "")
    opener = _OPENERS.get(kind)
    if opener is None:
        raise ConfigError(
            f"connection {conn_id} is of type {kind or 'none'!s}, which is not supported; "
            f"supported are: {', '.join(_OPENERS)}"
        )
    return opener(conn_id)


def check_connection(conn_id: str) -> list[Finding]:
    """Looks at a connection as a job would use it, up to the first thing that makes it useless.

    Unknown and unsupported connections raise ``ConfigError``, as ``open_store`` does.
    """
    store = open_store(conn_id)
    if store.system == "s3":
        from dsp_airflow.aws import check_s3

        return check_s3(conn_id)
    return _check_postgres(conn_id)


def _airflow_connection(conn_id: str) -> Any:
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        # The environment variable only works for ids that can be part of its name.
        variable = (
            f", or set AIRFLOW_CONN_{conn_id.upper()}" if re.fullmatch(r"\w+", conn_id) else ""
        )
        raise ConfigError(
            f"there is no Airflow connection {conn_id!r}; "
            f"create it under Admin > Connections{variable}"
        ) from None
    except Exception as error:  # noqa: BLE001 - whatever a secrets backend raises
        # Not chained and not quoted: a connection that cannot be read may be quoted in it.
        raise ConfigError(
            f"connection {conn_id} cannot be read ({type(error).__name__}); "
            "check its URI, or its JSON in the extra field"
        ) from None


def _open_postgres(conn_id: str) -> Store:
    from dsp_airflow.engine.stores.postgres import PostgresStore

    arguments = _postgres_arguments(conn_id)
    iam = bool(_airflow_connection(conn_id).extra_dejson.get("iam", False))
    return PostgresStore(
        conn_id, arguments, renew=(lambda: _postgres_arguments(conn_id)) if iam else None
    )


def _open_s3(conn_id: str) -> Store:
    from dsp_airflow.aws import open_s3

    # Not of databases: ``paths`` tells which jobs may use it, and how.
    return cast("Store", open_s3(conn_id))


_OPENERS: Mapping[str, Callable[[str], Store]] = {"postgres": _open_postgres, "aws": _open_s3}
"""By Airflow's connection type."""


def _postgres_arguments(conn_id: str) -> dict[str, Any]:
    """What PostgresHook would connect with: its own path, stopped before the driver."""
    import psycopg
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    from psycopg.conninfo import make_conninfo

    class Arguments(PostgresHook):
        def _create_connection(self, conn_args: dict[str, Any]) -> Any:
            return conn_args

    try:
        given: Any = Arguments(postgres_conn_id=conn_id).get_conn()
    except Exception as error:  # noqa: BLE001 - what IAM or a bad extra raises, secrets in it
        raise ConfigError(
            f"connection {conn_id}: PostgresHook cannot use it ({type(error).__name__}); "
            "check its extra field"
        ) from None
    arguments = {
        name: value
        for name, value in given.items()
        if value not in (None, "") and name not in _NOT_OURS and not name.endswith("_factory")
    }
    for name, value in arguments.items():
        if isinstance(value, (dict, list)):
            raise ConfigError(
                f"connection {conn_id}: {name!r} in the extra field is not a parameter of libpq"
            )
        try:
            make_conninfo("", **{name: value})
        except psycopg.Error:
            raise ConfigError(
                f"connection {conn_id}: {name!r} in the extra field is not a parameter of libpq; "
                "remove it, or correct its name"
            ) from None
    return arguments


# Checking


def _check_postgres(conn_id: str) -> list[Finding]:
    import psycopg

    store = _open_postgres(conn_id).having(CHECK)
    found: list[Finding] = []
    try:
        # The store's session applies what the engine needs; here the server is asked as it is.
        with store.session():
            found.append(Finding("reachable", "ok", store.identity))
    except DspError as error:
        return [_unreachable(error)]
    try:
        arguments = {"connect_timeout": 10, **_postgres_arguments(conn_id)}
        arguments["application_name"] = CHECK.name
        with psycopg.connect(**arguments, autocommit=True) as connection:
            found += _server(connection)
            found += _privileges(connection)
    except psycopg.Error as error:
        text = " ".join(str(error).split())
        found.append(Finding("questions", "failed", text, "see the server's log"))
    return found


def _unreachable(error: DspError) -> Finding:
    subject = "login" if isinstance(error, Denied) else "reachable"
    text, _, remedy = str(error).rpartition("; ")
    hint = " (a later try may succeed)" if isinstance(error, Transient) else ""
    return Finding(subject, "failed", (text or remedy) + hint, remedy if text else "")


def _server(connection: psycopg.Connection[Any]) -> list[Finding]:
    row = _row(
        connection,
        "SELECT session_user, current_database(), clock_timestamp(), "
        "current_setting('TimeZone'), current_setting('server_encoding'), "
        "pg_is_in_recovery(), current_setting('server_version'), "
        "(SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())",
    )
    user, database, clock, zone, encoding, replica, version, encrypted = row
    found = [
        Finding("login", "ok", f"{user}, database {database}"),
        Finding("encryption", "ok", "TLS" if encrypted else "none; set sslmode in the extra field"),
    ]
    if connection.info.server_version < OLDEST:
        found.append(
            Finding("version", "failed", f"PostgreSQL {version}", "use PostgreSQL 13 or later")
        )
    else:
        found.append(Finding("version", "ok", f"PostgreSQL {version}"))
    off = abs(datetime.now(UTC) - clock)
    if off > CLOCK_TOLERANCE:
        found.append(
            Finding(
                "clock",
                "warning",
                f"{off.total_seconds():.0f} s apart from this machine's",
                "synchronise both clocks; times relative to now use the state database's",
            )
        )
    else:
        found.append(Finding("clock", "ok", f"{off.total_seconds():.1f} s apart"))
    found.append(Finding("time zone", "ok", f"{zone}; sessions of jobs use UTC"))
    if encoding == "SQL_ASCII":
        found.append(
            Finding(
                "encoding",
                "warning",
                "SQL_ASCII: the server does not know what its texts mean",
                "texts that are not UTF-8 are refused when they are read",
            )
        )
    else:
        found.append(Finding("encoding", "ok", encoding))
    if replica:
        found.append(
            Finding(
                "role of the server",
                "warning",
                "a standby: it can only be read",
                "use it as a source without purge; name the primary for anything else",
            )
        )
    return found


def _privileges(connection: psycopg.Connection[Any]) -> list[Finding]:
    """What the role may do in general; tables are looked at by the plan of a job."""
    row = _row(
        connection,
        "SELECT current_user, current_database(), current_schema(), "
        "has_database_privilege(current_database(), 'TEMPORARY'), "
        "coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), "
        "rolsuper FROM pg_roles WHERE rolname = current_user",
    )
    role, database, schema, temporary, create, superuser = row
    found = [
        _may(
            "temporary tables",
            temporary,
            "needed to write into a table that holds rows",
            f'GRANT TEMPORARY ON DATABASE "{database}" TO "{role}"',
        ),
        _may(
            f"create in schema {schema or '(none)'}",
            create,
            "needed where a target table, or dsp_commits beside it, is missing",
            f'GRANT CREATE ON SCHEMA "{schema or "public"}" TO "{role}"',
        ),
    ]
    if superuser:
        found.append(
            Finding(
                "privileges",
                "warning",
                f"{role} is a superuser, which is more than any job needs",
                "use a role that may only read the source, or write the target",
            )
        )
    return found


def _row(connection: psycopg.Connection[Any], query: LiteralString) -> tuple[Any, ...]:
    (row,) = connection.execute(query).fetchall()
    return tuple(row)


def _may(subject: str, allowed: bool, why: str, grant: str) -> Finding:
    if allowed:
        return Finding(subject, "ok", "allowed")
    return Finding(subject, "warning", f"not allowed; {why}", f"if this is a target: {grant}")


__all__ = ["Finding", "check_connection", "open_store"]

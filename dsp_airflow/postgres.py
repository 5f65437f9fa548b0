"""Airflow's connections of type ``postgres``, through PostgresHook."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, LiteralString

from dsp_airflow.engine.errors import ConfigError, DspError
from dsp_airflow.findings import CHECK, Finding, clock, may, unreachable

if TYPE_CHECKING:
    import psycopg

    from dsp_airflow.engine.stores.postgres import PostgresStore

OLDEST: Final = 130_000
"""Server version number of PostgreSQL 13, the oldest that is supported."""

# Set by the store itself, or without meaning for it.
_NOT_OURS: Final = frozenset({"autocommit", "context", "cursor_factory", "prepare_threshold"})


def open_postgres(conn_id: str) -> PostgresStore:
    """The store of a connection; nothing is connected yet."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    from dsp_airflow.engine.stores.postgres import PostgresStore

    arguments = postgres_arguments(conn_id)
    iam = bool(PostgresHook.get_connection(conn_id).extra_dejson.get("iam", False))
    return PostgresStore(
        conn_id, arguments, renew=(lambda: postgres_arguments(conn_id)) if iam else None
    )


def postgres_arguments(conn_id: str) -> dict[str, Any]:
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


def check_postgres(conn_id: str) -> list[Finding]:
    """Looks at a connection as a job would use it, up to the first thing that makes it useless."""
    import psycopg

    store = open_postgres(conn_id).having(CHECK)
    found: list[Finding] = []
    try:
        # The store's session applies what the engine needs; here the server is asked as it is.
        with store.session():
            found.append(Finding("reachable", "ok", store.identity))
    except DspError as error:
        return [unreachable(error)]
    try:
        arguments = {"connect_timeout": 10, **postgres_arguments(conn_id)}
        arguments["application_name"] = CHECK.name
        with psycopg.connect(**arguments, autocommit=True) as connection:
            found += _server(connection)
            found += _privileges(connection)
    except psycopg.Error as error:
        text = " ".join(str(error).split())
        found.append(Finding("questions", "failed", text, "see the server's log"))
    return found


def _server(connection: psycopg.Connection[Any]) -> list[Finding]:
    row = _row(
        connection,
        "SELECT session_user, current_database(), clock_timestamp(), "
        "current_setting('TimeZone'), current_setting('server_encoding'), "
        "pg_is_in_recovery(), current_setting('server_version'), "
        "(SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())",
    )
    user, database, now, zone, encoding, replica, version, encrypted = row
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
    found.append(clock(abs(datetime.now(UTC) - now)))
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
        may(
            "temporary tables",
            temporary,
            "needed to write into a table that holds rows",
            f'GRANT TEMPORARY ON DATABASE "{database}" TO "{role}"',
        ),
        may(
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

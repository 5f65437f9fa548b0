"""Airflow's connections of type ``mysql``, through MySqlHook: MySQL and MariaDB.

The driver is mysqlclient, also where the extra field names the other client: its ``ssl_*``
parameters are understood as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from dsp_airflow.engine.errors import ConfigError

if TYPE_CHECKING:
    from dsp_airflow.engine.ports import Store

SSL_MODES: Final = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
_FILES: Final = ("ca", "capath", "cert", "key", "cipher")
_FLAGS: Final = {
    "ssl_disabled": "DISABLED",
    "ssl_verify_cert": "VERIFY_CA",
    "ssl_verify_identity": "VERIFY_IDENTITY",
}
"""Of mysql-connector-python; a later one asks for more."""

# The hook reads these, or they have no meaning for the store, which sets its own.
_HOOKS: Final = frozenset(
    {"aws_conn_id", "charset", "client", "cursor", "iam", "local_infile", "ssl", "ssl_mode"}
    | {"unix_socket", "use_unicode", "autocommit"}
)
_DRIVERS: Final[Mapping[str, type]] = {
    "auth_plugin": str,
    "compress": bool,
    "connect_timeout": int,
    "init_command": str,
    "server_public_key_path": str,
}
"""Passed on to the driver. A timeout of reading or writing is not: it would end long statements."""


def open_mysql(conn_id: str) -> Store:
    """The store of a connection; nothing is connected yet."""
    from dsp_airflow.engine.stores.mysql.store import MySqlStore

    return MySqlStore(conn_id, mysql_arguments(conn_id), renew=_renewed(conn_id))


def _renewed(conn_id: str) -> Callable[[], Mapping[str, Any]] | None:
    """A token of a cloud's identity service lasts minutes: every session has one of its own."""
    iam = bool(_extra(conn_id).get("iam", False))
    return (lambda: mysql_arguments(conn_id)) if iam else None


def mysql_arguments(conn_id: str) -> dict[str, Any]:
    """What MySqlHook would connect with: mysqlclient's arguments, without what the store sets."""
    from airflow.providers.mysql.hooks.mysql import MySqlHook

    try:
        extra = _extra(conn_id)
        hook = MySqlHook(mysql_conn_id=conn_id)
        given = hook._get_conn_config_mysql_client(hook.get_connection(conn_id))
    except Exception as error:  # noqa: BLE001 - what IAM or a bad extra raises, secrets in it
        raise ConfigError(
            f"connection {conn_id}: MySqlHook cannot use it ({type(error).__name__}); "
            "check its extra field"
        ) from None
    arguments = {
        {"passwd": "password", "db": "database"}.get(name, name): value
        for name, value in given.items()
        if value not in (None, "") and name not in {"charset", "cursorclass", "use_unicode"}
    }
    for name, value in extra.items():
        if name in _DRIVERS:
            arguments[name] = _option(conn_id, name, value)
        elif name not in _HOOKS and name.removeprefix("ssl_") not in _FILES and name not in _FLAGS:
            raise ConfigError(
                f"connection {conn_id}: {name!r} in the extra field is not an option of ours; "
                "remove it, or correct its name"
            )
    arguments |= _tls(conn_id, arguments, extra)
    return arguments


def _extra(conn_id: str) -> dict[str, Any]:
    from airflow.providers.mysql.hooks.mysql import MySqlHook

    return dict(MySqlHook.get_connection(conn_id).extra_dejson)


def _option(conn_id: str, name: str, value: Any) -> Any:
    """The value in its type; in a URI everything is text."""
    kind = _DRIVERS[name]
    if kind is bool and _truth(value) is not None:
        return _truth(value)
    if kind is int and str(value).isdecimal():
        return int(value)
    if kind is str and isinstance(value, str):
        return value
    raise ConfigError(
        f"connection {conn_id}: {name!r} in the extra field is not of type {kind.__name__}"
    )


def _truth(value: Any) -> bool | None:
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())


def _tls(conn_id: str, arguments: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """``ssl`` and ``ssl_mode``. Whoever names a file for TLS, or sends a token, requires TLS."""
    ssl = arguments.get("ssl")
    files = {name: extra[f"ssl_{name}"] for name in _FILES if extra.get(f"ssl_{name}")}
    if isinstance(ssl, Mapping):
        files = {**ssl, **files}
    elif ssl is not None and not isinstance(ssl, bool):
        raise ConfigError(f"connection {conn_id}: 'ssl' in the extra field is not an object")
    for name, value in files.items():
        if name not in _FILES or not isinstance(value, str):
            raise ConfigError(
                f"connection {conn_id}: {name!r} of ssl in the extra field is not a text by one "
                f"of the names {', '.join(_FILES)}"
            )
    mode = arguments.get("ssl_mode") and str(arguments["ssl_mode"]).upper()
    for name, stronger in _FLAGS.items():
        if mode is None or name != "ssl_disabled":
            mode = stronger if _truth(extra.get(name)) else mode
    if mode is None and (files or ssl or extra.get("iam")):
        mode = "REQUIRED"
    if mode is not None and mode not in SSL_MODES:
        raise ConfigError(
            f"connection {conn_id}: ssl_mode in the extra field is none of {', '.join(SSL_MODES)}"
        )
    return ({"ssl": files} if files else {}) | ({"ssl_mode": mode} if mode else {})

"""Airflow's connections of type ``mongo``, through MongoHook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dsp_airflow.engine.errors import ConfigError

if TYPE_CHECKING:
    from dsp_airflow.engine.ports import Store


def open_mongo(conn_id: str) -> Store:
    """The store of a connection; nothing is connected yet."""
    from dsp_airflow.engine.stores.mongodb.store import MongoStore

    arguments, database = mongo_arguments(conn_id)
    return MongoStore(conn_id, arguments, database)


def mongo_arguments(conn_id: str) -> tuple[dict[str, Any], str]:
    """What MongoHook would connect with, as MongoClient's arguments, and the default database."""
    from airflow.providers.mongo.hooks.mongo import MongoHook

    try:
        hook = MongoHook(mongo_conn_id=conn_id)
        arguments = {"host": hook.uri, **hook.extras}
        database = str(hook.connection.schema or "")
    except Exception as error:  # noqa: BLE001 - what a bad port or extra raises, secrets in it
        raise ConfigError(
            f"connection {conn_id}: MongoHook cannot use it ({type(error).__name__}); "
            "check host, port and the extra field"
        ) from None
    # Of two names for one thing the driver takes one.
    tls = [arguments.pop(name) for name in ("ssl", "tls") if name in arguments]
    if hook.ssl_enabled:
        arguments["tls"] = True
        if hook.allow_insecure:
            arguments["tlsAllowInvalidCertificates"] = True
    elif tls:
        arguments["tls"] = False
    _refuse_weak(conn_id, arguments)
    return arguments, database


def _refuse_weak(conn_id: str, arguments: dict[str, Any]) -> None:
    """What one server has may be gone when another takes its place."""
    given = arguments.pop("w", None)
    if given is not None and given != "majority":
        raise ConfigError(
            f"connection {conn_id}: w in the extra field is {given!r}; every write waits for a "
            "majority of the servers here, remove it"
        )

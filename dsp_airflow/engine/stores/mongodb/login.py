"""Opening a connection to MongoDB, with what every session of ours needs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

import pymongo
from pymongo.errors import PyMongoError

from dsp_airflow.engine.errors import ConfigError, Transient
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.mongodb import translate
from dsp_airflow.engine.stores.mongodb.connection import Client, Connection, Kind

CONNECT: Final[Mapping[str, Any]] = {
    "connectTimeoutMS": 10_000,
    "serverSelectionTimeoutMS": 15_000,
}
"""May be given otherwise by the Airflow connection."""


def connect(
    arguments: Mapping[str, Any], database: str, name: str, options: SessionOptions
) -> Connection:
    """A connection of ours. ``arguments`` are MongoClient's, ``name`` the Airflow connection.

    Raises ``Denied``, ``ConfigError`` or ``Transient``.
    """
    where = f"connection {name}"
    client = opened(arguments, options, where)
    try:
        with translate.translating(where, options):
            hello = client.admin.command("hello")
            _refuse_to_wait(hello, where)
            # Greeting needs no login; this does.
            client.admin.command("connectionStatus")
            return Connection(client, database, kind(hello), options, name)
    except BaseException:
        client.close()
        raise


def opened(arguments: Mapping[str, Any], options: SessionOptions, where: str) -> Client:
    """A client; nothing is connected yet."""
    try:
        with warnings.catch_warnings():
            # An option that it does not know is a slip.
            warnings.simplefilter("error", UserWarning)
            return pymongo.MongoClient(**{**CONNECT, **arguments, "appname": options.name})
    except OSError as error:
        # The files that it reads are those of TLS.
        named = f"file {error.filename}" if error.filename else "a file of certificates"
        raise ConfigError(
            f"{where}: {named} cannot be used ({error.strerror or type(error).__name__}); correct "
            "tlsCAFile or tlsCertificateKeyFile in the extra field of the Airflow connection"
        ) from None
    except (PyMongoError, TypeError, ValueError, UserWarning) as error:
        if str(error).startswith("Unknown option"):
            raise ConfigError(
                f"{where}: {error}; remove it from the extra field of the Airflow connection, or "
                "correct its name"
            ) from None
        # Not chained and not quoted: the address, with the password, may be quoted in it.
        raise ConfigError(
            f"{where}: the driver does not take it ({type(error).__name__}); check host, port, "
            "schema and the extra field of the Airflow connection"
        ) from None


def _refuse_to_wait(hello: Mapping[str, Any], where: str) -> None:
    """A server that has just started knows no set, and would pass for one that stands alone.

    It may become a primary a moment later; half of a job would then be done without transactions.
    """
    if hello.get("isreplicaset"):
        raise Transient(f"{where}: the server has not joined its replica set yet; retry in a while")


def kind(hello: Mapping[str, Any]) -> Kind:
    """What answers so."""
    if hello.get("msg") == "isdbgrid":
        return "sharded cluster"
    return "replica set" if "setName" in hello else "standalone"

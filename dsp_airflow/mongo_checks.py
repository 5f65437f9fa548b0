"""What looking at a connection to MongoDB finds."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from dsp_airflow.engine.errors import DspError
from dsp_airflow.findings import CHECK, Finding, clock, unreachable
from dsp_airflow.mongo import mongo_arguments

if TYPE_CHECKING:
    from dsp_airflow.engine.stores.mongodb.connection import Connection

OLDEST: Final = (5, 0)
_TARGET: Final = "if this is a target: "
_PURGED: Final = "if a job purges here: "
_EITHER: Final = "if this is a target, or a job purges here: "
_WANTED: Final = (
    ("find", "needed by every job", ""),
    ("listCollections", "needed by every job: options and kinds of collections", ""),
    ("listIndexes", "needed by every job: which fields an index serves", ""),
    ("insert", "needed in a target", _TARGET),
    ("update", "needed in a target", _TARGET),
    ("remove", "needed to purge", _PURGED),
    ("createCollection", "needed where the target is missing", _TARGET),
    ("createIndex", "needed where the target is missing", _TARGET),
)
_OWN: Final = ("find", "insert", "update", "remove")


def check_mongo(conn_id: str) -> list[Finding]:
    """Looks at a connection as a job would use it, up to the first thing that makes it useless."""
    from dsp_airflow.engine.stores.mongodb import identity, login, translate

    arguments, database = mongo_arguments(conn_id)
    try:
        connection = login.connect(arguments, database, conn_id, CHECK)
    except DspError as error:
        return [unreachable(error)]
    found = [Finding("reachable", "ok", identity.of(arguments, database))]
    try:
        with translate.translating(f"connection {conn_id}"):
            hello = connection.client.admin.command("hello")
            found += _session(connection, hello)
            found += _server(connection, hello)
            found += _privileges(connection)
    except DspError as error:
        found.append(Finding("questions", "failed", str(error), "see the server's log"))
    finally:
        connection.client.close()
    return found


def _session(connection: Connection, hello: Mapping[str, Any]) -> Iterator[Finding]:
    told = connection.client.admin.command("connectionStatus")["authInfo"]
    users = [f"{user['user']} of {user['db']}" for user in told.get("authenticatedUsers", ())]
    named = f"database {connection.database}" if connection.database else "no database"
    if users:
        yield Finding("login", "ok", f"{', '.join(users)}, {named}")
    else:
        yield Finding(
            "login",
            "warning",
            f"nobody, {named}: the server asks for no login",
            "start it with authorization enabled, and give the connection a login",
        )
    if not connection.database:
        yield Finding(
            "database",
            "warning",
            "none: every table has to be named with its own",
            "set the schema of the Airflow connection",
        )
    yield _encryption(connection.client.options.pool_options._ssl_context)
    now = hello["localTime"].replace(tzinfo=UTC)
    yield clock(abs(datetime.now(UTC) - now))


def _encryption(context: Any) -> Finding:
    if context is None:
        return Finding("encryption", "ok", "none; set tls to true in the extra field")
    if context.verify_mode == ssl.CERT_NONE:
        return Finding(
            "encryption",
            "warning",
            "TLS, and whatever certificate the server shows is taken",
            "remove allow_insecure from the extra field, and name the CA's file as tlsCAFile",
        )
    return Finding("encryption", "ok", "TLS")


def _server(connection: Connection, hello: Mapping[str, Any]) -> Iterator[Finding]:
    from pymongo.read_preferences import ReadPreference

    yield version(str(connection.client.server_info()["version"]))
    if connection.transactions:
        yield Finding("deployment", "ok", f"{connection.kind}: has transactions and snapshots")
    else:
        yield Finding(
            "deployment",
            "warning",
            "standalone: has neither transactions nor snapshots; nothing is purged here, nor by "
            "a copy that stands here, and on_conflict is update only",
            "make it a replica set, of one if need be: rs.initiate()",
        )
    if not hello.get("isWritablePrimary", True):
        yield Finding(
            "role of the server",
            "warning",
            "a secondary: it can only be read",
            "name the replica set, without directConnection, so that the primary is found",
        )
    preference = connection.client.read_preference
    if preference == ReadPreference.PRIMARY:
        yield Finding("read preference", "ok", "primary")
    else:
        yield Finding(
            "read preference",
            "warning",
            f"{preference.mongos_mode}: batches are read from servers that may lag behind",
            f"{_PURGED}remove readPreference from the extra field",
        )
    if connection.transactions:
        yield Finding("read and write concern", "ok", "snapshot and majority; set by jobs")
    else:
        yield Finding("read and write concern", "ok", "local and journaled; set by jobs")


def version(text: str) -> Finding:
    """The finding on a server that calls itself so."""
    numbers = [int(part) if part.isdecimal() else 0 for part in text.split(".")[:2]]
    if tuple(numbers) < OLDEST:
        remedy = f"use MongoDB {'.'.join(map(str, OLDEST))} or later"
        return Finding("version", "failed", f"MongoDB {text}", remedy)
    return Finding("version", "ok", f"MongoDB {text}")


def _privileges(connection: Connection) -> Iterator[Finding]:
    """What the login may do in general; collections are looked at by the plan of a job."""
    from dsp_airflow.engine.stores.mongodb import names, privileges

    if not connection.database:
        return
    anywhere = names.qualified(connection.database, privileges.ANY_COLLECTION)
    lacking = privileges.missing(connection, anywhere, [action for action, _, _ in _WANTED])
    named = privileges.collections(connection, connection.database)
    for own in (names.LOCKS, names.MARKERS):
        named.pop(own, None)
    for action, why, wanted in _WANTED:
        subject = f"{action} in {connection.database}"
        if action not in lacking:
            yield Finding(subject, "ok", "allowed")
        elif some := [name for name, actions in named.items() if action in actions]:
            shown = f"collection {some[0]}" if len(some) == 1 else f"{len(some)} collections"
            yield Finding(subject, "ok", f"allowed on {shown} by name")
        else:
            remedy = wanted + privileges.grant(connection, anywhere, [action])
            yield Finding(subject, "warning", f"not allowed; {why}", remedy)
    if connection.transactions:
        for own in (names.LOCKS, names.MARKERS):
            table = names.qualified(connection.database, own)
            if missing := privileges.missing(connection, table, _OWN):
                yield Finding(
                    own,
                    "warning",
                    f"{', '.join(missing)} not allowed; needed beside a target, and to purge",
                    _EITHER + privileges.grant(connection, table, missing),
                )
            else:
                yield Finding(own, "ok", "allowed")
    if privileges.everything(connection):
        yield Finding(
            "privileges",
            "warning",
            "the login may do everything, which is more than any job needs",
            "use a login that may only read the source, or write the target",
        )

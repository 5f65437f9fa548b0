"""What speaks against reading a collection, writing to it, deleting from it, or trusting it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pymongo.read_preferences import ReadPreference

from dsp_airflow.engine.model import OnConflict, Projection
from dsp_airflow.engine.stores.mongodb import leases, markers, names, privileges
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.facts import Facts, facts

TIME_SERIES: Final = (
    "is a time series collection: its ids are not unique and the server writes its documents anew"
)
CAPPED: Final = "is capped: it would drop its oldest documents, and takes none in a transaction"
NO_TRANSACTIONS: Final = (
    "the server stands alone and has no transactions; make it a replica set (of one, if need be)"
)


def read_refusals(connection: Connection, table: str) -> list[str]:
    """See ``ports.Reads``."""
    found = facts(connection, table)
    if found is None:
        return [f"{table} does not exist"]
    if found.kind == "timeseries":
        return [f"{found.label} {TIME_SERIES}; copy it by the server's own tools"]
    if found.capped and connection.transactions:
        return [f"{found.label} is capped, and the server gives no snapshot of it; copy it by hand"]
    return lacking(connection, table, ["find"])


def half_of_a_bucket(connection: Connection, table: str) -> list[str]:
    """A collection of GridFS is no table by itself: its documents mean something in pairs."""
    schema, name = connection.split(table)
    for own, other in ((".files", ".chunks"), (".chunks", ".files")):
        bucket = name.removesuffix(own)
        if bucket and bucket != name:
            if facts(connection, names.qualified(schema, bucket + other)) is None:
                return []
            why = f"{schema}.{name} is one half of the GridFS bucket {bucket}; write gridfs: true"
            return [f"{why} (type: warm) and the bucket as table, so that its files stay whole"]
    return []


def lacking(connection: Connection, table: str, actions: Sequence[str]) -> list[str]:
    """What the login may not do with a collection, and the words that grant it."""
    lacking = privileges.missing(connection, table, actions)
    if not lacking:
        return []
    schema, name = connection.split(table)
    words = privileges.grant(connection, table, lacking)
    return [f"the login may not {', '.join(lacking)} in {schema}.{name}: {words}"]


def read_warnings(connection: Connection, table: str) -> list[str]:
    """See ``ports.Reads``."""
    found = facts(connection, table)
    if found is None:
        return []
    told = [
        f"index {name} of {found.label} deletes documents by their age; a collection made as the "
        "target does not get that, one that has it loses them too"
        for name in found.expiring
    ]
    if found.capped:
        told.append(
            f"{found.label} is capped: the server drops its oldest documents; a collection made "
            "as the target keeps all"
        )
    unique = [str(i["name"]) for i in found.indexes if i.get("unique")]
    if unique:
        told.append(
            f"a target made for {found.label} gets the indexes {', '.join(unique)}, but not that "
            "they are unique: its batches come from different moments"
        )
    return told


def beside(connection: Connection, table: str) -> list[str]:
    """The leases and marks that a job leaves beside a collection."""
    schema, _ = connection.split(table)
    return [
        *lacking(connection, names.qualified(schema, names.LOCKS), leases.ACTIONS),
        *lacking(connection, names.qualified(schema, names.MARKERS), markers.ACTIONS),
    ]


def write_refusals(
    connection: Connection, what: Projection, on_conflict: OnConflict, *, create: bool
) -> list[str]:
    """See ``ports.Writes``."""
    wanted = ["find", "insert", "update"]
    if create:
        wanted += ["createCollection", "createIndex"]
    why = lacking(connection, what.table, wanted)
    found = facts(connection, what.table)
    if found is not None:
        why += _unwritable(found)
    if not connection.transactions:
        if on_conflict != "update":
            why.append(f"on_conflict {on_conflict}: {NO_TRANSACTIONS}, or use update")
        return why
    schema, _ = connection.split(what.table)
    why += lacking(connection, names.qualified(schema, names.LOCKS), leases.ACTIONS)
    if on_conflict != "update":
        why += lacking(connection, what.markers, markers.ACTIONS)
    return why


def _unwritable(found: Facts) -> list[str]:
    if found.kind == "view":
        return [f"{found.label} is a view; name the collection that it reads"]
    if found.kind == "timeseries":
        return [f"{found.label} {TIME_SERIES}; name another target"]
    if found.capped:
        return [f"{found.label} {CAPPED}; name another target"]
    return []


def purge_refusals(connection: Connection, table: str) -> list[str]:
    """Why no document of this collection may be deleted."""
    found = facts(connection, table)
    if found is None:
        return [f"{table} does not exist"]
    if found.kind == "view":
        return [f"{found.label} is a view: purge the collection that it reads"]
    if found.kind == "timeseries":
        return [f"{found.label} {TIME_SERIES}"]
    why = []
    if not connection.transactions:
        why.append(NO_TRANSACTIONS)
    if found.capped:
        why.append(f"{found.label} is capped: it takes no deletions in transactions")
    if connection.client.read_preference != ReadPreference.PRIMARY:
        why.append(
            f"connection {connection.name} reads from secondaries (readPreference): what was "
            "copied may be older than what is deleted; use a connection that reads from the primary"
        )
    why += lacking(connection, table, ["find", "remove"])
    return why + beside(connection, table)


def target_refusals(connection: Connection, table: str) -> list[str]:
    """Why a copy in this collection is no ground for deleting the original."""
    found = facts(connection, table)
    if found is None:
        return [f"target {table} does not exist"]
    why = [f"target {reason}" for reason in _unwritable(found)]
    why += [
        f"target {found.label} deletes documents by their age (index {name}); drop the index, or "
        "make it one that does not expire"
        for name in found.expiring
    ]
    if not connection.transactions:
        why.append(f"target {found.label}: {NO_TRANSACTIONS}: who writes there cannot be held off")
    return why


def warnings(connection: Connection) -> list[str]:
    """See ``ports.Session``."""
    told = []
    if not connection.transactions:
        told.append(
            "the server stands alone: it has no snapshots, so a batch is read document by "
            "document, and no transactions, so half a batch may stand in a target until a retry; "
            "nothing can be purged"
        )
    if connection.client.read_preference != ReadPreference.PRIMARY:
        told.append("batches are read from secondaries (readPreference), which may lag behind")
    return told

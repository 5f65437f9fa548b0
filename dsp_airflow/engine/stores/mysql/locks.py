"""Who writes into a table and who proves by it: never both at once.

The server's named locks know no sharing. So a table has several of them: who writes holds one,
who proves holds all. They belong to the session and end with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

import MySQLdb

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.mysql.names import split_name, text_literal
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, texts

PATIENCE = 300
"""Seconds to wait for batches and proofs of others on the same target table."""
SLOTS = 16
"""How many may write at once; more wait for each other."""
TURN = 1
"""Seconds of one wait, less than any time limit of statements."""
SCOPE = "dsp_airflow"


@contextmanager
def writing(connection: Connection, what: Projection, where: str) -> Iterator[None]:
    """See ``ports.Writes``. ``where`` names the connection in errors."""
    slots = _slots(connection, what.table)
    # Sessions begin at different slots, so that they seldom meet.
    own = int(str(one(connection, "SELECT CONNECTION_ID()")[0])) % SLOTS
    turned = slots[own:] + slots[:own]
    slot = next((name for name in turned if _got(connection, name, 0)), None)
    if slot is None:
        slot = turned[0]
        _await(connection, slot, time.monotonic() + PATIENCE, what, where)
    with _released(connection, [slot]):
        yield


@contextmanager
def proving(connection: Connection, what: Projection, where: str) -> Iterator[None]:
    """See ``ports.Writes``. Everybody takes the slots in the same order."""
    give_up = time.monotonic() + PATIENCE
    held: list[str] = []
    with _released(connection, held):
        for name in _slots(connection, what.table):
            _await(connection, name, give_up, what, where)
            held.append(name)
        yield


def _slots(connection: Connection, table: str) -> list[str]:
    """Names of a table's locks: of at most 64 characters, and the same for every session."""
    schema, name = split_name(table)
    default, folded = one(connection, "SELECT DATABASE(), @@lower_case_table_names")
    full = f"{schema or default}\0{name}"
    if folded != "0":
        full = full.lower()
    digest = hashlib.sha256(full.encode()).hexdigest()[:40]
    return [f"{SCOPE}.{digest}.{n:02}" for n in range(SLOTS)]


def _got(connection: Connection, name: str, seconds: int) -> bool:
    found = one(connection, f"SELECT GET_LOCK({text_literal(name)}, {seconds})")[0]
    if found is None:
        raise Transient(f"the server could not give the lock {name}; retry")
    return found == "1"


def _await(connection: Connection, name: str, give_up: float, what: Projection, where: str) -> None:
    while not _got(connection, name, TURN):
        if time.monotonic() > give_up:
            raise Transient(
                f"{where}: other runs have been copying into {what.label}, or purging by it, for "
                f"{PATIENCE} seconds; retry when they are through"
            )


@contextmanager
def _released(connection: Connection, held: list[str]) -> Iterator[None]:
    try:
        yield
    finally:
        # A session that cannot be told holds nothing any more.
        with contextlib.suppress(MySQLdb.OperationalError, MySQLdb.InterfaceError):
            for name in reversed(held):
                release(connection, name)


def hold(connection: Connection, kind: str) -> str:
    """Takes a lock that nobody else has the name of, and returns the name."""
    name = f"{SCOPE}.{kind}.{secrets.token_hex(16)}"
    if not _got(connection, name, 0):
        raise Transient(f"the server did not give the lock {name}; retry")
    return name


def release(connection: Connection, name: str) -> None:
    """Gives a lock back."""
    one(connection, f"SELECT RELEASE_LOCK({text_literal(name)})")


def holder(connection: Connection, name: str) -> str | None:
    """The id of the session that holds a lock; ``None`` when nobody does."""
    return one(connection, f"SELECT IS_USED_LOCK({text_literal(name)})")[0]


def unblock(connection: Connection, session: int) -> None:
    """Ends the statement of another session that waits for a lock.

    Waits for rows are told to who has the privilege PROCESS only; those of tables and of our own
    locks to everybody, of his own sessions.
    """
    waits = one(
        connection,
        "SELECT COUNT(*) FROM information_schema.processlist WHERE id = "
        f"{session} AND (state LIKE 'Waiting for %lock' OR state = 'User lock')",
    )[0]
    if waits == "0":
        with contextlib.suppress(MySQLdb.Error):
            waits = one(
                connection,
                "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE "
                f"trx_mysql_thread_id = {session} AND trx_state = 'LOCK WAIT'",
            )[0]
    if waits != "0":
        execute(connection, f"KILL QUERY {session}")


def same_database(connection: Connection, other: Connection) -> bool:
    """Takes a random lock here and looks whether the other session sees that it is ours.

    Nodes of one cluster know nothing of each other's locks, and have the same rows.
    """
    cluster = _cluster(connection)
    if cluster and cluster == _cluster(other):
        return True
    name = hold(connection, "identity")
    try:
        return holder(other, name) == one(connection, "SELECT CONNECTION_ID()")[0]
    finally:
        release(connection, name)


def _cluster(connection: Connection) -> str:
    """What the nodes of a Galera cluster call the state that they share; empty elsewhere."""
    found = texts(connection, "SHOW GLOBAL STATUS LIKE 'wsrep_cluster_state_uuid'")
    return "".join(str(value) for _, value in found).strip("0-")

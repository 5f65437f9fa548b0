"""Transactions, and locks that outlast them."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import MySQLdb

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.stores.mysql.locks import PATIENCE, SCOPE, TURN, release
from dsp_airflow.engine.stores.mysql.names import text_literal
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commits at the end; whatever is raised inside undoes everything.

    DDL inside would commit what was done before it: only TEMPORARY tables may be created.
    """
    execute(connection, "START TRANSACTION")
    try:
        yield
        execute(connection, "COMMIT")
    except BaseException:
        try:
            execute(connection, "ROLLBACK")
        except MySQLdb.Error:
            # The server undoes what a lost session leaves.
            with contextlib.suppress(MySQLdb.Error):
                connection.close()
        raise


@contextmanager
def held(connection: Connection, kind: str, name: str, label: str) -> Iterator[None]:
    """A lock that sessions of ours queue at: taken before a transaction, kept until after it."""
    lock = f"{SCOPE}.{kind}.{hashlib.sha256(name.encode()).hexdigest()[:40]}"
    give_up = time.monotonic() + PATIENCE
    while one(connection, f"SELECT GET_LOCK({text_literal(lock)}, {TURN})")[0] != "1":
        if time.monotonic() > give_up:
            raise Transient(
                f"{label}: another session has been at the same work ({kind}) for {PATIENCE} "
                "seconds; retry when it is through"
            )
    try:
        yield
    finally:
        # A session that is lost holds nothing any more.
        with contextlib.suppress(MySQLdb.Error):
            release(connection, lock)

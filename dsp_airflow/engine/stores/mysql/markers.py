"""Commit markers: what a transaction did with a batch, written by the transaction itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import MySQLdb
from pydantic import TypeAdapter

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.model import Projection, Written
from dsp_airflow.engine.stores.mysql import translate
from dsp_airflow.engine.stores.mysql.query import Connection, execute, quoted, rows
from dsp_airflow.engine.stores.mysql.warned import DUPLICATE

Marker = tuple[str, str, int]
WRITTEN: Final = TypeAdapter(Written)
_DENIED: Final = frozenset({1044, 1142, 1143, 1227, 1290, 1370})
_MISSING: Final = 1146
# Bytes: no collation takes two names for one.
_COLUMNS: Final = (
    "run VARBINARY(1000) NOT NULL, job VARBINARY(1000) NOT NULL, batch INT NOT NULL, "
    "outcome LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, "
    "committed_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6), "
    "PRIMARY KEY (run, job, batch)"
)


def prepare(connection: Connection, what: Projection) -> bool:
    """Creates the markers' table beside the target unless it is there; False when not allowed."""
    try:
        try:
            rows(connection, f"SELECT run, job, batch, outcome FROM {what.markers} LIMIT 0")
        except MySQLdb.Error as error:
            if translate.number(error) != _MISSING:
                raise
            execute(
                connection,
                f"CREATE TABLE IF NOT EXISTS {what.markers} ({_COLUMNS}) "
                "ENGINE=InnoDB ROW_FORMAT=DYNAMIC",
            )
        # Privileges are asked for before it is seen that no row is meant.
        execute(connection, f"DELETE FROM {what.markers} WHERE FALSE")
        execute(
            connection,
            f"INSERT INTO {what.markers} (run, job, batch, outcome) "
            "SELECT '', '', 0, '' FROM DUAL WHERE FALSE",
        )
    except MySQLdb.Error as error:
        if translate.number(error) in _DENIED:
            return False
        raise
    return True


def forget(connection: Connection, what: Projection, run: str, job: str) -> None:
    """Drops the markers of one job."""
    execute(
        connection,
        f"DELETE FROM {what.markers} "
        f"WHERE run = {quoted(connection, run)} AND job = {quoted(connection, job)}",
    )


def found(connection: Connection, what: Projection, marker: Marker) -> Written | None:
    """What an earlier transaction did with the batch, if one has committed."""
    run, job, batch = marker
    outcome = rows(
        connection,
        f"SELECT outcome FROM {what.markers} WHERE run = {quoted(connection, run)} "
        f"AND job = {quoted(connection, job)} AND batch = {int(batch)}",
    )
    if not outcome:
        return None
    return replace(WRITTEN.validate_json(outcome[0][0] or b""), recovered=True)


def leave(connection: Connection, what: Projection, marker: Marker, done: Written) -> None:
    """Inserts the marker; its key keeps two transactions from committing the same batch."""
    run, job, batch = marker
    outcome = quoted(connection, WRITTEN.dump_json(done).decode())
    try:
        execute(
            connection,
            f"INSERT INTO {what.markers} (run, job, batch, outcome) VALUES "
            f"({quoted(connection, run)}, {quoted(connection, job)}, {int(batch)}, {outcome})",
        )
    except MySQLdb.Error as error:
        if translate.number(error) != DUPLICATE:
            raise
        raise Transient(
            f"{what.label}: batch {batch} was written by another session meanwhile; retry"
        ) from error

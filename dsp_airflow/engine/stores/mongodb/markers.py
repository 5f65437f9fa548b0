"""Commit markers: what a transaction did with a batch, written by the transaction itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import TypeAdapter
from pymongo.client_session import ClientSession

from dsp_airflow.engine.model import Projection, Written
from dsp_airflow.engine.stores.mongodb import privileges
from dsp_airflow.engine.stores.mongodb.connection import Connection

Marker = tuple[str, str, int]
WRITTEN: Final = TypeAdapter(Written)
ACTIONS: Final = ("find", "insert", "remove")


def prepare(connection: Connection, what: Projection) -> bool:
    """Whether they can be kept beside the target: in a transaction, by this login."""
    if not connection.transactions:
        return False
    return not privileges.missing(connection, what.markers, ACTIONS)


def forget(connection: Connection, what: Projection, run: str, job: str) -> None:
    """Drops the markers of one job."""
    connection.collection(what.markers).delete_many({"_id.run": run, "_id.job": job})


def found(
    connection: Connection, what: Projection, marker: Marker, session: ClientSession
) -> Written | None:
    """What an earlier transaction did with the batch, if one has committed."""
    left = connection.collection(what.markers).find_one({"_id": _id(marker)}, session=session)
    if left is None:
        return None
    return replace(WRITTEN.validate_json(left["outcome"]), recovered=True)


def leave(
    connection: Connection,
    what: Projection,
    marker: Marker,
    done: Written,
    session: ClientSession,
) -> None:
    """Inserts the marker; its id keeps two transactions from committing the same batch."""
    outcome = WRITTEN.dump_json(done).decode()
    connection.collection(what.markers).insert_one(
        {"_id": _id(marker), "outcome": outcome, "at": datetime.now(UTC)}, session=session
    )


def _id(marker: Marker) -> dict[str, Any]:
    run, job, batch = marker
    return {"run": run, "job": job, "batch": batch}

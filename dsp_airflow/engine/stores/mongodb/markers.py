"""Commit markers: what a transaction did with a batch, written by the transaction itself."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import TypeAdapter
from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError, OperationFailure

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.model import Projection, Written
from dsp_airflow.engine.stores.mongodb import privileges, translate
from dsp_airflow.engine.stores.mongodb.connection import Connection

Marker = tuple[str, str, int]
WRITTEN: Final = TypeAdapter(Written)
ACTIONS: Final = ("find", "insert", "update", "remove")
PATIENCE: Final = 120.0
"""Seconds to wait for another session that writes the same batch: as long as it may take."""
TURN: Final = 0.1
"""Seconds between two looks."""


def prepare(connection: Connection, what: Projection) -> bool:
    """Whether they can be kept beside the target: in a transaction, by this login."""
    if not connection.transactions or privileges.missing(connection, what.markers, ACTIONS):
        return False
    # A transaction cannot use a collection that is made after it has begun.
    connection.make(what.markers)
    return True


def forget(connection: Connection, what: Projection, run: str, job: str) -> None:
    """Drops the markers of one job."""
    connection.collection(what.markers).delete_many({"_id.run": run, "_id.job": job})


def found(connection: Connection, what: Projection, marker: Marker) -> Written | None:
    """What a transaction did with the batch, if one has committed."""
    left = connection.collection(what.markers).find_one({"_id": _id(marker)})
    if left is None:
        return None
    return replace(WRITTEN.validate_json(left["outcome"]), recovered=True)


def claim(
    connection: Connection, what: Projection, marker: Marker, session: ClientSession
) -> Written | None:
    """Begins a transaction by inserting the marker; or what an earlier one did with the batch.

    Two that write the same batch meet here: who comes second waits for the end of the first.
    """
    markers = connection.collection(what.markers)
    give_up = time.monotonic() + PATIENCE
    while True:
        done = found(connection, what, marker)
        if done is not None:
            return done
        connection.begin(session)
        try:
            markers.insert_one({"_id": _id(marker), "outcome": ""}, session=session)
        except (DuplicateKeyError, OperationFailure) as error:
            if not isinstance(error, DuplicateKeyError) and not translate.conflicting(error):
                raise
            if time.monotonic() > give_up:
                raise Transient(
                    f"batch {marker[2]} has been held by another worker's transaction on "
                    f"{what.label} for {PATIENCE:.0f} seconds; retry when it has ended"
                ) from error
            session.abort_transaction()
            time.sleep(TURN)
        else:
            return None


def leave(
    connection: Connection,
    what: Projection,
    marker: Marker,
    done: Written,
    session: ClientSession,
) -> None:
    """Says in the marker what was done."""
    outcome = WRITTEN.dump_json(done).decode()
    connection.collection(what.markers).update_one(
        {"_id": _id(marker)},
        {"$set": {"outcome": outcome, "at": datetime.now(UTC)}},
        upsert=True,
        session=session,
    )


def _id(marker: Marker) -> dict[str, Any]:
    run, job, batch = marker
    return {"run": run, "job": job, "batch": batch}

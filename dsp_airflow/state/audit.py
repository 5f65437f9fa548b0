"""Who did what to what: written in the transaction that does it, and chained as receipts are.

Each record's hash covers the hash before it and its own body, and its body repeats its place,
actor and time. An edit, a removal or a swap shows, unless somebody rewrites every later record
and the head as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from dsp_airflow.state.codec import canonical
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.receipts import GENESIS, Head, chained
from dsp_airflow.state.tables import AUDIT, AUDIT_HEAD


def record(
    connection: Connection,
    *,
    actor: str,
    action: str,
    object: str,  # noqa: A002 - what it is called everywhere
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    address: str | None = None,
) -> int:
    """Adds a record inside the caller's writing transaction; returns its number.

    ``action`` is a word such as ``process.create``; ``object`` names what was changed, such as
    ``process WarehouseChanges``; ``before`` and ``after`` are fit for JSON and hold no secret.
    """
    last = connection.execute(
        select(AUDIT_HEAD.c.seq, AUDIT_HEAD.c.hash).where(AUDIT_HEAD.c.id == 1).with_for_update()
    ).one()
    at: datetime = clock(connection)
    seq: int = last.seq + 1
    body = canonical(
        {
            "seq": seq,
            "recorded_at": at.isoformat(),
            "actor": actor,
            "action": action,
            "object": object,
            "before": before,
            "after": after,
            "address": address,
        }
    )
    digest = chained(last.hash, body)
    connection.execute(
        insert(AUDIT).values(
            seq=seq,
            actor=actor,
            action=action,
            object=object,
            body=body,
            previous_hash=last.hash,
            hash=digest,
            recorded_at=at,
        )
    )
    connection.execute(update(AUDIT_HEAD).values(seq=seq, hash=digest))
    return seq


def head(database: StateDatabase) -> Head:
    """The chain's end, to be noted elsewhere."""
    with database.read() as connection:
        row = connection.execute(select(AUDIT_HEAD.c.seq, AUDIT_HEAD.c.hash)).one()
    return Head(row.seq, row.hash)


def verify(database: StateDatabase) -> list[str]:
    """Every record that was edited, removed or moved. Empty: the chain is as it was written."""
    with database.read(snapshot=True) as connection:
        return list(_findings(connection))


def _findings(connection: Connection) -> Iterator[str]:
    expected, previous = 1, GENESIS
    rows = connection.execution_options(yield_per=1000).execute(select(AUDIT).order_by(AUDIT.c.seq))
    for row in rows:
        if row.seq != expected:
            yield f"audit records {expected} to {row.seq - 1} are missing"
        if row.previous_hash != previous and row.seq == expected:
            yield f"audit record {row.seq} does not follow the one before it"
        if row.hash != chained(row.previous_hash, row.body) or _apart(row):
            yield f"audit record {row.seq} ({row.actor}, {row.action}, {row.object}) was edited"
        expected, previous = row.seq + 1, row.hash
    last = connection.execute(select(AUDIT_HEAD.c.seq, AUDIT_HEAD.c.hash)).one_or_none()
    if last is None:
        yield "the head of the audit is missing"
    elif (last.seq, last.hash) != (expected - 1, previous):
        yield f"the head of the audit says {last.seq}, but the chain ends with {expected - 1}"


def _apart(row: Any) -> bool:
    """Whether the columns say something else than the body, which alone is hashed."""
    try:
        body = json.loads(row.body)
    except ValueError:
        return True
    told = {name: body.get(name) for name in ("seq", "actor", "action", "object", "recorded_at")}
    return told != {
        "seq": row.seq,
        "actor": row.actor,
        "action": row.action,
        "object": row.object,
        "recorded_at": row.recorded_at.isoformat(),
    }

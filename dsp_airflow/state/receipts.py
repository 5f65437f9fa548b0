"""The chain of receipts: adding to it, and finding what was done to it since.

Each receipt's hash covers the hash before it and its own body, and its body repeats its
place, batch and time. So an edit, a removal or a swap shows, unless somebody rewrites every
later receipt and the head as well; keep copies of the head elsewhere against that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, insert, select, update

from dsp_airflow.engine.model import Receipt
from dsp_airflow.state.clock import server_now
from dsp_airflow.state.codec import canonical
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.tables import BATCHES, JOBS, RECEIPT_HEAD, RECEIPTS, RUNS

GENESIS = "0" * 64
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Head:
    """The chain's end: how many receipts there are, and the last one's hash."""

    seq: int
    hash: str


def head(database: StateDatabase) -> Head:
    """The chain's end, to be noted elsewhere."""
    with database.read() as connection:
        row = connection.execute(select(RECEIPT_HEAD.c.seq, RECEIPT_HEAD.c.hash)).one()
    return Head(row.seq, row.hash)


def append(connection: Connection, run: str, attempt: int, receipt: Receipt) -> int:
    """Chains a receipt inside the caller's writing transaction; returns its number."""
    last = connection.execute(
        select(RECEIPT_HEAD.c.seq, RECEIPT_HEAD.c.hash)
        .where(RECEIPT_HEAD.c.id == 1)
        .with_for_update()
    ).one()
    at: datetime = connection.execute(select(server_now())).scalar_one()
    seq: int = last.seq + 1
    body = canonical(
        {
            **asdict(receipt),
            "attempt": attempt,
            "recorded_at": at.isoformat(),
            "recorded_run": run,
            "seq": seq,
        }
    )
    digest = chained(last.hash, body)
    connection.execute(
        insert(RECEIPTS).values(
            seq=seq,
            run=run,
            job=receipt.job,
            batch=receipt.batch,
            body=body,
            target=target_digest(receipt.target),
            relied=receipt.rows + (receipt.gone.rows if receipt.gone else 0),
            previous_hash=last.hash,
            hash=digest,
            created_at=at,
        )
    )
    connection.execute(update(RECEIPT_HEAD).values(seq=seq, hash=digest))
    return seq


def chained(previous: str, body: str) -> str:
    """The hash of a receipt that follows the one with hash ``previous``."""
    return hashlib.sha256((previous + body).encode()).hexdigest()


def target_digest(target: str) -> str:
    """By which receipts of a target are found; names may be longer than an index takes."""
    return hashlib.sha256(target.encode()).hexdigest()


def relied_rows(body: Mapping[str, Any]) -> int:
    """Rows that are gone from the source by a receipt: they stand in its target, and nowhere else.

    Older receipts know of none that somebody else removed.
    """
    return int(body["rows"] + (body.get("gone") or {}).get("rows", 0))


def verify(database: StateDatabase, run: str | None = None) -> list[str]:
    """Every receipt that was edited, removed or moved, by number, run, job and batch.

    The whole chain is always read; ``run`` limits what is reported to that run (and to what
    cannot be assigned to any). Empty: the chain is as it was written.
    """
    with database.read(snapshot=True) as connection:
        found = [*_chain(connection), *_without_receipt(connection)]
    return [text for about, text in found if run is None or about in {None, run}]


Finding = tuple[str | None, str]


def _chain(connection: Connection) -> Iterator[Finding]:
    expected, previous, before = 1, GENESIS, None
    for row in _rows(connection):
        if row.seq > expected:
            yield None, _gap(expected, row.seq - 1)
        name, body = _name(row), parsed(row.body)
        moved = body is not None and body.get("seq") != row.seq
        if row.hash != chained(row.previous_hash, row.body):
            yield row.run, f"{name} was edited{_which(connection, row, body)}"
        elif moved and body is not None:
            yield row.run, f"{name} was moved: it was written as receipt {body.get('seq')}"
        elif body is not None and (fields := _columns_apart(row, body) + _index_apart(row, body)):
            yield row.run, f"{name} was edited: {', '.join(fields)} differ from its body"
        if row.previous_hash != previous and row.seq == expected:
            # The one before was given a new hash that fits; what follows it knows the old one.
            yield _rewritten(connection, before, name)
        expected, previous, before = row.seq + 1, row.hash, row
    last = connection.execute(select(RECEIPT_HEAD.c.seq, RECEIPT_HEAD.c.hash)).one_or_none()
    if last is None:
        yield None, "the head of the receipts is missing"
    elif last.seq >= expected:
        yield None, _gap(expected, last.seq)
    elif last.seq < expected - 1:
        yield None, f"the head of the receipts says {last.seq}, but there are {expected - 1}"
    elif last.hash != previous:
        yield _rewritten(connection, before, "the head of the receipts")


def _name(row: Any) -> str:
    return f"receipt {row.seq} (run {row.run}, job {row.job}, batch {row.batch})"


def _rewritten(connection: Connection, before: Any | None, witness: str) -> Finding:
    if before is None:
        return None, f"{witness} does not begin the chain"
    which = _which(connection, before, parsed(before.body))
    return before.run, f"{_name(before)} was rewritten, {witness} does not follow it{which}"


def _rows(connection: Connection) -> Iterator[Any]:
    after = -(2**62)
    while True:
        page = connection.execute(
            select(RECEIPTS).where(RECEIPTS.c.seq > after).order_by(RECEIPTS.c.seq).limit(_PAGE)
        ).all()
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].seq


def _gap(first: int, last: int) -> str:
    if first == last:
        return f"receipt {first} is missing"
    return f"receipts {first} to {last} are missing"


def parsed(body: str) -> dict[str, Any] | None:
    """A body; ``None`` for what is none."""
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _columns_apart(row: Any, body: dict[str, Any]) -> list[str]:
    pairs = {
        "run": (row.run, body.get("recorded_run")),
        "job": (row.job, body.get("job")),
        "batch": (row.batch, body.get("batch")),
        "created_at": (row.created_at.isoformat(), body.get("recorded_at")),
    }
    return [name for name, (column, told) in pairs.items() if column != told]


def _index_apart(row: Any, body: dict[str, Any]) -> list[str]:
    """Of what receipts are found by; workers of older versions did not know it."""
    if row.target is None:
        return []
    pairs = {
        "target": (row.target, target_digest(str(body.get("target")))),
        "relied": (row.relied, relied_rows(body)),
    }
    return [name for name, (column, told) in pairs.items() if column != told]


def _which(connection: Connection, row: Any, body: dict[str, Any] | None) -> str:
    """Which fields no longer match what else the database knows of that batch."""
    if body is None:
        return ": its body is no JSON object"
    fields = _columns_apart(row, body)
    if body.get("seq") != row.seq:
        fields.append("seq")
    fields += [
        name
        for name, known in _known(connection, row, body).items()
        if name in body and body[name] != known
    ]
    if not fields:
        return ""
    return f": {', '.join(fields)} no longer match the batch's record"


def _known(connection: Connection, row: Any, body: dict[str, Any]) -> dict[str, Any]:
    record = connection.execute(
        select(
            RUNS.c.task,
            JOBS.c.attempt,
            JOBS.c.plan,
            BATCHES.c.after,
            BATCHES.c.upto,
            BATCHES.c.rows_purged,
            BATCHES.c.rows_kept,
        )
        .join(JOBS, JOBS.c.run == RUNS.c.id)
        .join(
            BATCHES,
            and_(
                BATCHES.c.run == JOBS.c.run,
                BATCHES.c.job == JOBS.c.name,
                BATCHES.c.number == row.batch,
                BATCHES.c.attempt == body.get("attempt", JOBS.c.attempt),
            ),
        )
        .where(RUNS.c.id == row.run, JOBS.c.name == row.job)
    ).one_or_none()
    if record is None:
        return {}
    known: dict[str, Any] = {
        "task": record.task,
        "after": None if record.after is None else json.loads(record.after),
        "upto": None if record.upto is None else json.loads(record.upto),
    }
    siblings = connection.execute(
        select(RECEIPTS.c.seq).where(
            RECEIPTS.c.run == row.run, RECEIPTS.c.job == row.job, RECEIPTS.c.batch == row.batch
        )
    ).all()
    if len(siblings) == 1:
        known |= {"rows": record.rows_purged, "kept": record.rows_kept}
    if record.plan is not None and record.attempt == body.get("attempt"):
        plan = json.loads(record.plan)
        known |= {name: plan[name] for name in ("filter", "definition") if name in plan}
    return known


def _without_receipt(connection: Connection) -> Iterator[Finding]:
    has = (
        select(RECEIPTS.c.seq)
        .where(
            RECEIPTS.c.run == BATCHES.c.run,
            RECEIPTS.c.job == BATCHES.c.job,
            RECEIPTS.c.batch == BATCHES.c.number,
        )
        .exists()
    )
    bare = connection.execute(
        select(BATCHES.c.run, BATCHES.c.job, BATCHES.c.number)
        .where(BATCHES.c.purged_at.is_not(None), ~has)
        .order_by(BATCHES.c.run, BATCHES.c.job, BATCHES.c.number)
    )
    for row in bare:
        yield row.run, f"batch {row.number} of job {row.job} in run {row.run} has no receipt"

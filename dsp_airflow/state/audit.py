"""Who did what to what: written in the transaction that does it, and chained as receipts are.

Each record's hash covers the hash before it and its own body, and its body repeats its place,
actor and time. An edit, a removal or a swap shows, unless somebody rewrites every later record
and the head as well; keep exports elsewhere against that.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, or_, select, update

from dsp_airflow.engine.errors import Refused
from dsp_airflow.state.codec import canonical
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.receipts import GENESIS, Head, chained
from dsp_airflow.state.tables import AUDIT, AUDIT_HEAD

SYSTEM = "dsp"
"""The actor where the work itself comes to something, by nobody's hand."""
SCHEDULE = "airflow"
"""The actor of a run that nobody triggered."""
UNKNOWN = "unknown"
"""The actor whom neither the operating system nor Airflow could name."""
_PAGE = 1000
_ADDRESS: ContextVar[str | None] = ContextVar("dsp_audit_address", default=None)
_COLUMNS = ("actor", "action", "object")


@dataclass(frozen=True, slots=True)
class Entry:
    """One record."""

    seq: int
    recorded_at: datetime
    actor: str
    action: str
    object: str
    before: Any
    after: Any
    address: str | None
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: all that fit everything that is given.

    ``actions`` are whole ones or their first words, one of which is enough; so is a part of
    ``object``. ``names``: somebody or something that the record names, as its object, or as a whole
    value of what was before and after.
    """

    since: datetime | None = None
    actor: str | None = None
    actions: Collection[str] = ()
    object: str | None = None
    names: str | None = None


@contextmanager
def from_address(address: str | None) -> Iterator[None]:
    """What is recorded inside was asked for from this address, unless it says another one."""
    before = _ADDRESS.set(address)
    try:
        yield
    finally:
        _ADDRESS.reset(before)


def record(
    connection: Connection,
    *,
    actor: str | None,
    action: str,
    object: str,  # noqa: A002 - what it is called everywhere
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    address: str | None = None,
) -> int:
    """Adds a record inside the caller's writing transaction; returns its number.

    ``action`` is a word such as ``process.create``; ``object`` names what was changed, such as
    ``process WarehouseChanges``; ``before`` and ``after`` are fit for JSON and hold no secret.
    ``address`` is where the actor was; default: what ``from_address`` says. What no person does
    comes from nowhere.
    """
    last = hold(connection)
    actor = actor or UNKNOWN
    if actor != SYSTEM:
        address = address or _ADDRESS.get()
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


def hold(connection: Connection) -> Head:
    """Until the caller's writing transaction ends, nothing else that is recorded is changed."""
    row = connection.execute(
        select(AUDIT_HEAD.c.seq, AUDIT_HEAD.c.hash).where(AUDIT_HEAD.c.id == 1).with_for_update()
    ).one_or_none()
    if row is None:
        raise Refused(
            "nothing that has to be recorded can be done: the head of the audit is missing from "
            "the state database; see dsp audit verify"
        )
    return Head(row.seq, row.hash)


def head(database: StateDatabase) -> Head | None:
    """The chain's end, to be noted elsewhere; ``None`` where somebody removed it."""
    with database.read() as connection:
        row = connection.execute(select(AUDIT_HEAD.c.seq, AUDIT_HEAD.c.hash)).one_or_none()
    return None if row is None else Head(row.seq, row.hash)


def recent(database: StateDatabase, wanted: Wanted, limit: int) -> list[Entry]:
    """The youngest records that are wanted, the youngest first."""
    return page(database, wanted, limit=limit)[0]


def page(
    database: StateDatabase, wanted: Wanted, *, limit: int, offset: int = 0
) -> tuple[list[Entry], int]:
    """Some of the records that are wanted, the youngest first, and how many there are in all."""
    query = _query(wanted)
    count = select(func.count()).select_from(query.subquery())
    with database.read(snapshot=True) as connection:
        total = connection.execute(count).scalar_one()
        some = query.order_by(AUDIT.c.seq.desc()).limit(limit).offset(offset)
        return [_entry(row) for row in connection.execute(some)], total


def document(entry: Entry) -> dict[str, Any]:
    """A record as exports have it, fit for JSON."""
    return {**asdict(entry), "recorded_at": entry.recorded_at.isoformat()}


def entries(database: StateDatabase, wanted: Wanted) -> Iterator[Entry]:
    """Every record that is wanted, the oldest first.

    Read by pages, so that whoever takes them slowly holds no transaction open. As records are only
    ever added, the pages fit together.
    """
    after = 0
    while True:
        query = _query(wanted).where(AUDIT.c.seq > after).order_by(AUDIT.c.seq).limit(_PAGE)
        with database.read() as connection:
            rows = connection.execute(query).all()
        yield from map(_entry, rows)
        if len(rows) < _PAGE:
            return
        after = rows[-1].seq


def lines(database: StateDatabase, wanted: Wanted) -> Iterator[str]:
    """An export of them: one JSON document a line, the oldest first."""
    for one in entries(database, wanted):
        yield json.dumps(document(one), sort_keys=True) + "\n"


def verify(database: StateDatabase) -> list[str]:
    """Every record that was edited, removed or moved. Empty: the chain is as it was written."""
    with database.read(snapshot=True) as connection:
        return list(_findings(connection))


def _findings(connection: Connection) -> Iterator[str]:
    expected, previous, sound = 1, GENESIS, True
    rows = connection.execution_options(yield_per=_PAGE).execute(
        select(AUDIT).order_by(AUDIT.c.seq)
    )
    for row in rows:
        if row.seq > expected:
            yield _missing(expected, row.seq - 1)
        problem = _problem(row)
        if problem is not None:
            yield f"audit record {row.seq} ({row.actor}, {row.action}, {row.object}) {problem}"
        elif row.previous_hash != previous and row.seq == expected and sound:
            # The one before was given a new hash that fits; what follows it knows the old one.
            yield _rewritten(expected - 1, f"record {row.seq}")
        expected, previous, sound = row.seq + 1, row.hash, problem is None
    last = connection.execute(select(AUDIT_HEAD.c.seq, AUDIT_HEAD.c.hash)).one_or_none()
    if last is None:
        yield "the head of the audit is missing"
    elif last.seq >= expected:
        yield f"{_missing(expected, last.seq)}: cut off at the end"
    elif last.seq < expected - 1:
        yield f"the head of the audit says {last.seq}, but the chain ends with {expected - 1}"
    elif last.hash != previous and sound:
        yield _rewritten(last.seq, "the head of the audit")


def _missing(first: int, last: int) -> str:
    if first == last:
        return f"audit record {first} is missing"
    return f"audit records {first} to {last} are missing"


def _rewritten(seq: int, witness: str) -> str:
    if seq < 1:
        return f"{witness} does not begin the audit"
    return f"audit record {seq} was rewritten: {witness} does not follow it"


def _problem(row: Any) -> str | None:
    """What was done to a record; its body alone is hashed, its columns repeat some of that."""
    body = _body(row)
    if body is None or row.hash != chained(row.previous_hash, row.body):
        return "was edited"
    if body.get("seq") != row.seq:
        return f"was moved: it was written as record {body.get('seq')}"
    apart = body.get("recorded_at") != row.recorded_at.isoformat() or any(
        body.get(name) != getattr(row, name) for name in _COLUMNS
    )
    return "was edited" if apart else None


def _body(row: Any) -> dict[str, Any] | None:
    try:
        body = json.loads(row.body)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _query(wanted: Wanted) -> Select[Any]:
    query, its = select(AUDIT), AUDIT.c
    if wanted.since is not None:
        query = query.where(its.recorded_at >= wanted.since)
    if wanted.actor is not None:
        query = query.where(its.actor == wanted.actor)
    if wanted.actions:
        ranges = (_acts(action) for action in sorted(wanted.actions))
        query = query.where(or_(*ranges))
    if wanted.object is not None:
        query = query.where(its.object.icontains(wanted.object, autoescape=True))
    if wanted.names is not None:
        # As the body has it: a whole text of JSON, with its quotes.
        held = its.body.contains(canonical(wanted.names), autoescape=True)
        query = query.where(or_(held, its.object.endswith(f" {wanted.names}", autoescape=True)))
    return query


def _acts(action: str) -> ColumnElement[bool]:
    """The action itself, or those that it is the first word of."""
    return or_(AUDIT.c.action == action, AUDIT.c.action.startswith(f"{action}.", autoescape=True))


def _entry(row: Any) -> Entry:
    body = _body(row) or {}
    return Entry(
        row.seq,
        row.recorded_at,
        row.actor,
        row.action,
        row.object,
        body.get("before"),
        body.get("after"),
        body.get("address"),
        row.previous_hash,
        row.hash,
    )

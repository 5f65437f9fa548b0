"""The audit: who did what to what. For administrators."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, Query
from fastapi.responses import StreamingResponse

from dsp_airflow.state import audit
from dsp_airflow.state.audit import Entry, Wanted
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment, Number, Page, Paged, plain
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting

routes = router("audit")


class Record(Document):
    """One record of the audit."""

    seq: Number
    recorded_at: Moment
    actor: str
    action: str
    object: str
    before: Any
    after: Any
    address: str | None
    previous_hash: str
    hash: str


class Head(Document):
    """The chain's end, to be noted elsewhere."""

    seq: Number
    hash: str


class Verdict(Document):
    """Whether the audit is as it was written."""

    head: Head | None
    problems: list[str]
    """Every record that was edited, removed or moved."""


def _state(database: Database, actor: Acting) -> StateDatabase:
    actor.require_administrator("the audit")
    return database


Found = Annotated[StateDatabase, Depends(_state)]


def _wanted(
    since: Moment | None = None,
    actor: str | None = None,
    action: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI copies it
    object: str | None = None,  # noqa: A002 - what it is called everywhere
    names: str | None = None,
) -> Wanted:
    return Wanted(since, actor, tuple(action), object, names)


Asked = Annotated[Wanted, Depends(_wanted)]


@routes.get("/audit", summary="List records of the audit")
def list_records(database: Found, wanted: Asked, paging: Paged) -> Page[Record]:
    """The youngest first. `action` is a whole one or its first word; `object` a part of it; `names`
    somebody or something that a record names as a whole.
    """
    found, total = audit.page(database, wanted, limit=paging.limit, offset=paging.offset)
    return paging.page([_record(one) for one in found], total)


@routes.get("/audit/verify", summary="Verify the audit")
def verify(database: Found) -> Verdict:
    """Reads the whole chain; 503 where that takes too long, then `dsp audit verify` does it."""
    # In this order: what is told as the head is among what was verified.
    head = audit.head(database)
    return Verdict(
        head=None if head is None else Head(seq=head.seq, hash=head.hash),
        problems=audit.verify(database),
    )


@routes.get(
    "/audit/export",
    summary="Export the audit",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/jsonl": {}}}},
)
def export(database: Found, wanted: Asked) -> StreamingResponse:
    """Every record that is wanted, as `dsp audit export` writes it: one JSON document a line, the
    oldest first.
    """
    headers = {"Content-Disposition": 'attachment; filename="dsp-audit.jsonl"'}
    return StreamingResponse(
        audit.lines(database, wanted), headers=headers, media_type="application/jsonl"
    )


def _record(one: Entry) -> Record:
    return Record(**{**asdict(one), "before": plain(one.before), "after": plain(one.after)})

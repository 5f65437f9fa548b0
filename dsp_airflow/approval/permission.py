"""What somebody applies for: a grant for oneself, made when the last node has agreed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from dsp_airflow.approval.machine import SYSTEM, State
from dsp_airflow.approval.records import PERMISSION, Request
from dsp_airflow.approval.subject import FORMAT, Subject, touched
from dsp_airflow.permissions.grants import (
    Grant,
    Holder,
    Scope,
    check_privileges,
    check_scope,
)
from dsp_airflow.permissions.store import give
from dsp_airflow.state.codec import canonical

MAX_REASON = 500
"""Characters of why somebody applies."""


def subject_of(
    applicant: str,
    scope: Scope,
    privileges: Collection[str],
    until: datetime | None,
    reason: str = "",
) -> Subject:
    """The application as approvers see it; who applies is who would have the grant."""
    check_scope(scope)
    known = sorted(check_privileges(privileges))
    lasts = "until it is revoked" if until is None else f"until {until:%Y-%m-%d %H:%M} UTC"
    wanted = {
        "holder": applicant,
        "connection": scope.connection,
        "container": scope.container,
        "item": scope.item,
        "is_path": scope.is_path,
        "privileges": known,
        "until": None if until is None else until.isoformat(),
    }
    return Subject(
        task=f"grant to {applicant}"[:250],
        title=f"{applicant} applies to {', '.join(known)} {scope} {lasts}",
        task_type=PERMISSION,
        subtypes=frozenset({"other"}),
        connections=touched([scope.connection]),
        bound={"format": FORMAT, "task_type": PERMISSION, "grant": wanted},
        shown={"definition": {**wanted, "reason": reason[:MAX_REASON]}, "jobs": []},
        statements=1,
    )


def key_of(applicant: str, scope: Scope, privileges: Collection[str]) -> str:
    """What asks: one application for the same thing is open at a time, whatever its end."""
    parts = [applicant, scope.connection, scope.container, scope.item, scope.is_path]
    told = canonical([*parts, sorted(check_privileges(privileges))])
    return f"grant/{hashlib.sha256(told.encode()).hexdigest()[:32]}"


def is_due(request: Request) -> bool:
    """Whether the grant is to be made now: every node has agreed."""
    return request.task_type == PERMISSION and request.state == State.WAIT_FOR_EXECUTION


def made(connection: Connection, request: Request) -> Grant:
    """The grant that was agreed to, made in the transaction that records the last agreement."""
    wanted: dict[str, Any] = request.evidence["bound"]["grant"]
    scope = Scope(
        wanted["connection"], wanted["container"], wanted["item"], is_path=wanted["is_path"]
    )
    until = None if wanted["until"] is None else datetime.fromisoformat(wanted["until"])
    people = [one.actor for one in request.decisions if one.verdict == "approved"]
    return give(
        connection,
        # Nobody applies for somebody else.
        Holder(request.requester),
        scope,
        wanted["privileges"],
        people[-1] if people else SYSTEM,
        until=until,
        request=request.id,
    )

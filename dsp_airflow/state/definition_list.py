"""The definitions that the runs of a task worked by, page by page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from dsp_airflow.state.tables import RUNS


@dataclass(frozen=True, slots=True)
class UsedDefinition:
    """A definition, with the runs that worked by it. ``run`` is the youngest of them."""

    digest: str
    definition: Mapping[str, Any]
    run: str
    runs: int
    first_at: datetime
    last_at: datetime


def definitions_page(
    connection: Connection, task: str, *, limit: int, offset: int = 0
) -> tuple[list[UsedDefinition], int]:
    """Some of the definitions of a task, the one that came last first, and how many there are.

    One that came back after another is one, from its first run on.
    """
    its = RUNS.c
    used = (
        select(
            its.definition_digest.label("digest"),
            func.min(its.created_at).label("first_at"),
            func.max(its.created_at).label("last_at"),
            func.count().label("runs"),
            # Ids begin with their time.
            func.max(its.id).label("run"),
        )
        .where(its.task == task)
        .group_by(its.definition_digest)
    )
    total = connection.execute(select(func.count()).select_from(used.subquery())).scalar_one()
    grouped = used.order_by(func.min(its.created_at).desc(), its.definition_digest)
    rows = connection.execute(grouped.limit(limit).offset(offset)).all()
    texts = dict(
        row._tuple()
        for row in connection.execute(
            select(its.id, its.definition).where(its.id.in_([row.run for row in rows]))
        )
    )
    return [
        UsedDefinition(
            row.digest, json.loads(texts[row.run]), row.run, row.runs, row.first_at, row.last_at
        )
        for row in rows
    ], total

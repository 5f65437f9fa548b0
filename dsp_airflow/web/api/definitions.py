"""What a task said before: the definitions of its runs, and what changed from one to the next."""

from __future__ import annotations

import difflib
import json
from itertools import zip_longest
from typing import Any

from dsp_airflow.state.definition_list import UsedDefinition, definitions_page
from dsp_airflow.web.api.tasks import visible
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment, Number, Page, Paged, plain
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting

routes = router("definitions")


class DefinitionLine(Document):
    """A definition, and the runs that worked by it."""

    digest: str
    first_at: Moment
    last_at: Moment
    """When its first and its last run were made."""
    runs: Number
    run: str
    """The last of them."""
    changes: list[str] | None
    """Lines of a diff to the one before; null for the first one there was."""


@routes.get("/tasks/{task}/definitions", summary="List what a task said")
def list_definitions(
    task: str, database: Database, actor: Acting, paging: Paged
) -> Page[DefinitionLine]:
    """The one that came last first. Only what ran is known: not each edit of the file."""
    visible(database, actor, task)
    with database.read(snapshot=True) as connection:
        # One more, to tell what changed since then.
        found, total = definitions_page(
            connection, task, limit=paging.limit + 1, offset=paging.offset
        )
    pairs = zip_longest(found, found[1:])
    return paging.page([_line(one, before) for one, before in pairs][: paging.limit], total)


def _line(one: UsedDefinition, before: UsedDefinition | None) -> DefinitionLine:
    return DefinitionLine(
        digest=one.digest,
        first_at=one.first_at,
        last_at=one.last_at,
        runs=one.runs,
        run=one.run,
        changes=None if before is None else _changes(before, one),
    )


def _changes(before: UsedDefinition, after: UsedDefinition) -> list[str]:
    names = before.digest[:12], after.digest[:12]
    lines = (_lines(before.definition), _lines(after.definition))
    return list(difflib.unified_diff(*lines, *names, "", "", 2, ""))


def _lines(definition: Any) -> list[str]:
    return json.dumps(plain(definition), indent=1, ensure_ascii=False).splitlines()

"""Grants: who may do what to which connection, schema, table or prefix."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Depends, HTTPException, Query
from pydantic import Field

from dsp_airflow.approval.permission import MAX_REASON, key_of, subject_of
from dsp_airflow.approval.requests import Requests
from dsp_airflow.permissions.grants import (
    Grant,
    Holder,
    Needed,
    Privilege,
    Scope,
    allows,
    check_scope,
    concerns,
)
from dsp_airflow.permissions.store import Grants
from dsp_airflow.web.api.requests import RequestDetail, changed
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment, Page, Paged
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting, Actor

routes = router("grants")


class ScopeSaid(Document):
    """A connection, or a part of it; what is left out stands for all there are."""

    connection: str
    container: str | None = None
    """A schema, a database, or a bucket."""
    item: str | None = None
    """A table or a collection in it; with `is_path`, a prefix of keys and all below it."""
    is_path: bool = False


class GrantSaid(ScopeSaid):
    """A grant to make."""

    holder: str
    is_role: bool = False
    """Whether the holder is a role."""
    privileges: list[Privilege]
    until: Moment | None = None


class Application(ScopeSaid):
    """A grant for oneself, that somebody applies for."""

    privileges: list[Privilege]
    until: Moment | None = None
    reason: Annotated[str, Field(max_length=MAX_REASON)] = ""


class GrantLine(GrantSaid):
    """One grant."""

    id: str
    granted_by: str
    granted_at: Moment
    request: str | None
    """The request that it was made for."""
    over: bool
    """Whether its time is over."""
    may_revoke: bool
    """Whether you may."""


class Answer(Document):
    """Whether somebody may do something, and who could let them."""

    user: str
    privilege: Privilege
    allowed: bool
    who_gives: list[str]


def _grants(database: Database) -> Grants:
    return Grants(database)


Found = Annotated[Grants, Depends(_grants)]


@routes.get("/grants", summary="List grants")
def list_grants(
    grants: Found,
    actor: Acting,
    paging: Paged,
    holder: str | None = None,
    is_role: bool | None = None,
    connection: str | None = None,
    privilege: Privilege | None = None,
    over: bool = False,
) -> Page[GrantLine]:
    """Of administrators all; of others their own, and those on what they administer. `is_role` is
    about the holder; `over` also lists those whose time is over.
    """
    now, mine = grants.database.now(), grants.of(actor.name)
    page = paging.cut(
        [
            one
            for one in grants.all(
                holder=holder,
                is_role=is_role,
                connection=connection,
                privilege=privilege,
                over=over,
            )
            if _visible(actor, one, mine, now)
        ]
    )
    return paging.page([_line(one, actor, mine, now) for one in page.items], page.total)


@routes.post("/grants", status_code=201, summary="Give a grant")
def add_grant(said: GrantSaid, grants: Found, actor: Acting) -> GrantLine:
    """Administrators give all; others those of what they hold `administer` on, as long as that."""
    made = grants.add(
        Holder(said.holder, said.is_role),
        _scope(said),
        said.privileges,
        actor.name,
        until=said.until,
    )
    return _line(made, actor, grants.of(actor.name), grants.database.now())


@routes.post("/grants/apply", status_code=201, summary="Apply for a grant")
def apply(said: Application, database: Database, actor: Acting) -> RequestDetail:
    """For yourself. Asks as the approval process for permissions says; the grant is made when all
    have agreed. Repeated, it finds the request that is open.
    """
    scope = _scope(said)
    subject = subject_of(actor.name, scope, said.privileges, said.until, said.reason)
    key = key_of(actor.name, scope, said.privileges)
    return changed(database, actor, Requests(database).ask(key, subject, actor.name))


@routes.delete("/grants/{grant}", summary="Revoke a grant", status_code=204)
def revoke_grant(grant: str, grants: Found, actor: Acting) -> None:
    """What works by it stops at its next step."""
    known = {one.id: one for one in grants.all(over=True)}
    mine, now = grants.of(actor.name), grants.database.now()
    if grant not in known or not _visible(actor, known[grant], mine, now):
        raise HTTPException(404, f"there is no grant {grant} that you may see")
    grants.revoke(grant, actor.name)


@routes.get("/grants/check", summary="Ask whether somebody may do something")
def check_grant(
    grants: Found,
    actor: Acting,
    connection: str,
    privilege: Privilege,
    user: str | None = None,
    container: str | None = None,
    item: str | None = None,
    is_path: bool = False,
    folds: Annotated[
        bool, Query(description="Whether the server takes names without their case")
    ] = False,
) -> Answer:
    """Of others than yourself only administrators, and who administers it, are told."""
    scope = check_scope(Scope(connection, container, item, is_path))
    whom = user or actor.name
    needed = Needed(scope, folds)
    if whom != actor.name and not grants.may(actor.name, "administer", needed):
        actor.require_administrator("what others may do")
    return Answer(
        user=whom,
        privilege=privilege,
        allowed=grants.may(whom, privilege, needed),
        who_gives=sorted(grants.who_gives(scope)),
    )


def _visible(actor: Actor, one: Grant, mine: list[Grant], now: datetime) -> bool:
    """Whether it is the user's own, or on what the user administers by one of `mine`."""
    return _may_revoke(actor, one, mine, now) or concerns(one, actor.name, actor.roles)


def _may_revoke(actor: Actor, one: Grant, mine: list[Grant], now: datetime) -> bool:
    return actor.administrator or allows(
        mine, actor.name, actor.roles, "administer", Needed(one.scope), now
    )


def _scope(said: ScopeSaid) -> Scope:
    return Scope(said.connection, said.container, said.item, said.is_path)


def _line(grant: Grant, actor: Actor, mine: list[Grant], now: datetime) -> GrantLine:
    scope = grant.scope
    return GrantLine(
        id=grant.id,
        holder=grant.holder.name,
        is_role=grant.holder.is_role,
        connection=scope.connection,
        container=scope.container,
        item=scope.item,
        is_path=scope.is_path,
        privileges=sorted(grant.privileges),
        until=grant.until,
        granted_by=grant.granted_by,
        granted_at=grant.granted_at,
        request=grant.request,
        over=not grant.holds(now),
        may_revoke=_may_revoke(actor, grant, mine, now),
    )

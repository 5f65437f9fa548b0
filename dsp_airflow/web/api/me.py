"""Who you are, and what you may do."""

from __future__ import annotations

from dsp_airflow.approval import settings
from dsp_airflow.approval.requests import Requests
from dsp_airflow.permissions.settings import enforced as grants_enforced
from dsp_airflow.permissions.store import Grants
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting

routes = router("me")


class Me(Document):
    """The user who is logged in."""

    name: str
    administrator: bool
    roles: list[str]
    """Of the approval."""
    waiting: int
    """Requests that wait for your decision."""
    approval_enforced: bool
    grants_enforced: bool
    may_see_audit: bool
    may_change_processes: bool
    may_change_roles: bool
    may_give_grants: bool
    """On all connections, or on what you administer."""
    may_edit_connections: bool
    """On Airflow's own page of connections."""


@routes.get("/me", summary="Who you are")
def show_me(database: Database, actor: Acting) -> Me:
    """Your name, your roles, and which parts of the pages are for you."""
    return Me(
        name=actor.name,
        administrator=actor.administrator,
        roles=sorted(actor.roles),
        waiting=len(Requests(database).waiting_for(actor.name)),
        approval_enforced=settings.enforced(),
        grants_enforced=grants_enforced(),
        may_see_audit=actor.administrator,
        may_change_processes=actor.administrator,
        may_change_roles=actor.administrator,
        may_give_grants=actor.administrator
        or any("administer" in one.privileges for one in Grants(database).of(actor.name)),
        may_edit_connections=actor.may_edit_connections(),
    )

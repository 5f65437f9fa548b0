"""Users that are known here: of whom Airflow knows more."""

from __future__ import annotations

from dsp_airflow.permissions.people import everybody, people
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Page, Paged
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting

routes = router("people")


class UserLine(Document):
    """One user."""

    name: str
    administrator: bool
    roles: list[str]
    """Those that were given to it here."""
    grants: int
    """By its own name; those that are over count, too."""


@routes.get("/users", summary="List users")
def list_users(
    database: Database, actor: Acting, paging: Paged, name: str | None = None
) -> Page[UserLine]:
    """Whoever has logged in, has a role or a grant, or is an administrator by a setting; `name` is
    a part of the name. Administrators see all, others themselves.
    """
    with database.read(snapshot=True) as connection:
        names = everybody(connection, name) if actor.administrator else [actor.name]
        page = paging.cut(names)
        found = people(connection, page.items)
    return paging.page(
        [UserLine.model_validate(one, from_attributes=True) for one in found], page.total
    )

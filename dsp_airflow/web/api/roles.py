"""Roles, and who has them. Administrators see and change them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.role_deletion import delete_role
from dsp_airflow.approval.role_list import RoleLine, role_list
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Page, Paged
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting

routes = router("roles")


class RoleDetail(Document):
    """One role."""

    role: str
    members: list[str]
    """Who was given it. Administrators of Airflow are so without being a member."""
    processes: list[str]
    """Those that ask for it."""


class Deleted(Document):
    """What became of a role."""

    deleted: int
    """Its members and grants; 0 where there was nothing of that name."""


def _roles(database: Database, actor: Acting) -> Roles:
    actor.require_administrator("roles")
    return Roles(database, founding=False)


Found = Annotated[Roles, Depends(_roles)]


@routes.get("/roles", summary="List roles")
def list_roles(roles: Found, paging: Paged) -> Page[RoleDetail]:
    """Those that somebody has, and those that a process asks for."""
    return paging.cut([_detail(one) for one in role_list(roles, Processes(roles.database))])


@routes.put("/roles/{role}/members/{user}", summary="Give a user a role")
def add_member(role: str, user: str, roles: Found, actor: Acting) -> RoleDetail:
    """Nothing happens where the user has it already."""
    roles.add(role, user, actor.name)
    return _shown(roles, role)


@routes.delete("/roles/{role}/members/{user}", summary="Take a role from a user")
def remove_member(role: str, user: str, roles: Found, actor: Acting) -> RoleDetail:
    """Nothing happens where the user does not have it. The last administrator stays one."""
    roles.remove(role, user, actor.name)
    return _shown(roles, role)


@routes.delete("/roles/{role}", summary="Delete a role")
def remove_role(role: str, roles: Found, actor: Acting) -> Deleted:
    """Takes it from its members, and its grants back. 409 while a process asks for it."""
    return Deleted(deleted=delete_role(roles, Processes(roles.database), role, actor.name))


def _shown(roles: Roles, role: str) -> RoleDetail:
    found = {one.role: one for one in role_list(roles, Processes(roles.database))}
    return _detail(found.get(role) or RoleLine(role, (), ()))


def _detail(line: RoleLine) -> RoleDetail:
    return RoleDetail(role=line.role, members=list(line.members), processes=list(line.processes))

"""Who acts, and what that user may see and do.

Who somebody is, and which DAGs they may see or edit, is Airflow's to say; which roles they have is
in the state database. So nothing here is allowed by a default: an auth manager that is not known
makes nobody an administrator.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends

from dsp_airflow.engine.errors import Denied
from dsp_airflow.permissions import administrators
from dsp_airflow.permissions.store import roles_of
from dsp_airflow.state.records import Run
from dsp_airflow.web.database import Database

Method: TypeAlias = Literal["GET", "POST", "PUT", "DELETE"]
_ADMIN = {"admin"}
"""What the role is called that may do everything: in Simple and in FAB, whatever its case."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who sends a request."""

    name: str
    airflow: Any
    """The user, as Airflow's auth manager knows it."""
    roles: frozenset[str]
    """Of the approval, that this user has now."""
    administrator: bool

    def require_administrator(self, what: str) -> None:
        """``Denied`` for others."""
        if not self.administrator:
            raise Denied(f"{self.name} may not see or change {what}; administrators may")

    def readable(self, dags: Collection[str]) -> set[str]:
        """Of these DAGs, those of whose runs the user may read."""
        return self._authorized(dags, "GET", DagAccessEntity.RUN)

    def may_read(self, dag: str) -> bool:
        """Whether the user may read of the runs of a DAG."""
        return bool(self.readable([dag]))

    @property
    def may_edit_dags(self) -> bool:
        """Whether Airflow lets the user edit DAGs, whichever they are."""
        manager = get_auth_manager()
        return bool(manager.is_authorized_dag(method="PUT", user=self.airflow))

    def may_begin(self, dag: str) -> bool:
        """Whether Airflow lets the user begin runs of a DAG."""
        return bool(self._authorized([dag], "POST", DagAccessEntity.RUN))

    def may_clear(self, dag: str) -> bool:
        """Whether Airflow lets the user clear steps of a DAG's runs."""
        return bool(self._authorized([dag], "PUT", DagAccessEntity.RUN))

    def may_edit_connections(self) -> bool:
        """Whether Airflow lets the user change its connections."""
        return bool(get_auth_manager().is_authorized_connection(method="PUT", user=self.airflow))

    def editable(self, dags: Collection[str]) -> set[str]:
        """Of these DAGs, those that the user may edit in Airflow."""
        return self._authorized(dags, "PUT", None)

    def may_steer(self, dag: str, owner: str | None) -> bool:
        """Whether the user may stop, switch and hold back what a DAG does.

        The task's owner may, administrators, and whoever may edit the DAG in Airflow.
        """
        return (
            self.administrator or (bool(owner) and owner == self.name) or bool(self.editable([dag]))
        )

    def require_steering(self, dag: str, owner: str | None, what: str) -> None:
        """``Denied`` for others."""
        if not self.may_steer(dag, owner):
            who = f"its owner {owner}" if owner else "its owner, where the task file names one"
            raise Denied(
                f"{self.name} may not {what}; {who}, administrators, and who may edit DAG {dag} "
                "in Airflow may"
            )

    def _authorized(
        self, dags: Collection[str], method: Method, entity: DagAccessEntity | None
    ) -> set[str]:
        manager = get_auth_manager()
        teams = _teams(dags)
        return {
            dag
            for dag in dags
            if manager.is_authorized_dag(
                method=method,
                access_entity=entity,
                details=DagDetails(id=dag, team_name=teams.get(dag)),
                user=self.airflow,
            )
        }


def acting(user: GetUserDep, database: Database) -> Actor:
    """Who sends the present request; that Airflow makes it an administrator is kept for others."""
    name = user.get_name()
    administrators.saw(database, name, administrator=_rules_airflow(user))
    with database.read() as connection:
        return Actor(
            name,
            user,
            roles_of(connection, name),
            administrators.is_administrator(connection, name),
        )


Acting = Annotated[Actor, Depends(acting)]


def owner_of(run: Run) -> str | None:
    """Who owns the task of a run, as its file said when it began."""
    return run.definition.get("owner") or None


def _rules_airflow(user: Any) -> bool:
    """Whether Airflow's auth manager makes the user its administrator."""
    role = getattr(user, "role", None)
    if isinstance(role, str):
        return role.lower() in _ADMIN
    roles: Iterable[Any] = getattr(user, "roles", None) or ()
    return any(str(getattr(one, "name", one)).lower() in _ADMIN for one in roles)


def _teams(dags: Collection[str]) -> Mapping[str, str | None]:
    if not conf.getboolean("core", "multi_team", fallback=False):
        return {}
    return DagModel.get_dag_id_to_team_name_mapping(list(dags))

"""Whether a task may run. Somebody says so by name; a task of which nobody said anything may."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from sqlalchemy import delete, insert, select

from dsp_airflow.engine.errors import Refused, SwitchedOff
from dsp_airflow.state import audit
from dsp_airflow.state.codec import message
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import TASKS

TaskState: TypeAlias = Literal["enabled", "disabled", "offline"]
_ACTIONS = {"enabled": "task.enable", "disabled": "task.disable", "offline": "task.offline"}


@dataclass(frozen=True, slots=True)
class Switch:
    """What somebody said of a task."""

    name: str
    state: TaskState
    reason: str | None
    changed_by: str | None
    changed_at: datetime

    def __str__(self) -> str:
        by = f" by {self.changed_by}" if self.changed_by else ""
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.state}{by} at {self.changed_at:%Y-%m-%d %H:%M:%S} UTC{why}"


class Switches:
    """All that was said of tasks."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def all(self) -> dict[str, Switch]:
        """By the tasks' names, in their order."""
        with self._database.read() as connection:
            rows = connection.execute(select(TASKS).order_by(TASKS.c.name)).all()
        return {row.name: Switch(**row._mapping) for row in rows}

    def of(self, name: str) -> Switch | None:
        """``None`` when nobody said anything: it is enabled."""
        with self._database.read() as connection:
            row = connection.execute(select(TASKS).where(TASKS.c.name == name)).one_or_none()
        return None if row is None else Switch(**row._mapping)

    def set(
        self,
        name: str,
        state: TaskState,
        by: str | None,
        reason: str | None = None,
        *,
        back: bool = False,
    ) -> Switch:
        """From now on, for runs that begin; those that have begun go on.

        Out of ``offline`` a task comes only with ``back``; ``Refused`` without it.
        """
        with self._database.write() as connection:
            its = TASKS.c.name == name
            known = connection.execute(select(TASKS).where(its).with_for_update()).one_or_none()
            if known is not None and known.state == "offline" != state and not back:
                raise Refused(
                    f"task {name} is {Switch(**known._mapping)}, and comes back only by dsp task "
                    f"enable {name} --from-offline"
                )
            connection.execute(delete(TASKS).where(its))
            now = clock(connection)
            connection.execute(
                insert(TASKS).values(
                    name=name, state=state, reason=message(reason), changed_by=by, changed_at=now
                )
            )
            audit.record(
                connection,
                actor=by,
                action=_ACTIONS[state],
                object=f"task {name}",
                before={"state": known.state, "reason": known.reason} if known else None,
                after={"state": state, "reason": message(reason)},
            )
        return Switch(name, state, message(reason), by, now)

    def require_enabled(self, name: str) -> None:
        """Raises ``SwitchedOff`` for a task of which no run may begin."""
        found = self.of(name)
        if found is not None and found.state != "enabled":
            back = " --from-offline" if found.state == "offline" else ""
            raise SwitchedOff(
                f"task {name} is {found}, so no run of it begins; dsp task enable {name}{back}"
            )

    def require_online(self, name: str) -> None:
        """Raises ``SwitchedOff`` for a task whose rows nobody may delete."""
        found = self.of(name)
        if found is not None and found.state == "offline":
            raise SwitchedOff(
                f"task {name} is {found}, so nothing of it is deleted; dsp task enable {name} "
                "--from-offline"
            )

"""The grants that a command needs: the task's owner's, and those of who acts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import actor

if TYPE_CHECKING:
    from dsp_airflow.config import Task
    from dsp_airflow.engine.ports import Store
    from dsp_airflow.permissions.checks import Permit
    from dsp_airflow.permissions.needs import Act, Place
    from dsp_airflow.state.database import StateDatabase


def permit_for(
    database: StateDatabase, task: Task, act: Act = "run", *, quiet: bool = False
) -> Permit:
    """Who answers for what a command does; where that is not enforced, it says so."""
    from dsp_airflow.permissions import settings
    from dsp_airflow.permissions.checks import OpenPermit, permit_of

    if not settings.enforced():
        if not quiet:
            output.note(settings.NOT_ENFORCED)
        return OpenPermit()
    return permit_of(database, task.owner, actor(), act)


def require_reading(opened: Callable[[str], Store], places: Iterable[Place]) -> None:
    """``Denied`` unless who acts may read these; the state database is asked only if it must be."""
    from dsp_airflow.permissions import checks, settings
    from dsp_airflow.state.database import open_state

    if settings.enforced():
        with open_state(create=True) as database:
            checks.require_reading(database, actor(), places, opened)

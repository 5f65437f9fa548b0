"""Notes of earlier runs beside a target: how long they are kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.events import Noted, tell
from dsp_airflow.engine.model import Plan
from dsp_airflow.engine.notes import beside, noted, notes_of
from dsp_airflow.engine.ports import Store, Watch
from dsp_airflow.engine.swap import CanSwap
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.rollbacks import Rollbacks
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.settings import setting, variable

DAYS: Final = 30
"""For which notes are kept where ``[dsp] rollback_days`` is not set."""


def kept_for() -> timedelta:
    """How long a run can be undone after its end."""
    text = setting("rollback_days")
    if text is None:
        return timedelta(days=DAYS)
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        name = variable("rollback_days")
        raise ConfigError(f"{name} is {text!r}; it must be a whole number of days from 0")
    return timedelta(days=int(text))


def drop_old(database: StateDatabase, plan: Plan, store: Store, watch: Watch) -> None:
    """Drops notes on the target that are old enough; what was kept of a rollback stays.

    Those of runs that this state database does not know are somebody else's.
    """
    runs, rollbacks = Runs(database), Rollbacks(database)
    before = database.now() - kept_for()
    with store.session() as session:
        if not isinstance(session, CanSwap):
            return
        names = session.swaps().beside(plan.target)
        for one in beside(plan, names, store.dialect):
            run = runs.find_id(one.run)
            if run is None or run.ended_at is None or run.ended_at >= before:
                continue
            if any(found.ended_at is None or found.kept for found in rollbacks.of_run(run.id)):
                continue
            notes_of(session, noted(plan, one.run, store.dialect)).drop()
            told = f"{one.label}, by which run {one.run} could be undone until now, was dropped"
            tell(watch, Noted(told))

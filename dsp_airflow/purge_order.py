"""In which order the jobs of a task purge: rows that refer to others go before them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from dsp_airflow.config.names import split_table
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.tasks import Job, Task
from dsp_airflow.endpoints import OpenStore
from dsp_airflow.engine.references import Refers, leaf_first
from dsp_airflow.state.runs import Runs


def purged_beside(task: Task, job: Job, open_store: OpenStore) -> tuple[str, ...]:
    """The tables of the job's database that other jobs of the task purge."""
    others = (other for other in _beside(task, job, open_store) if other.purge != "none")
    return tuple(sorted({other.source.table for other in others}))


def _beside(task: Task, job: Job, open_store: OpenStore) -> list[Job]:
    """The other jobs on the same database, whose tables this job's login finds by their names."""
    if isinstance(job, RestoreJob):
        return []
    here = open_store(job.source.connection)
    found: list[Job] = []
    for other in task.jobs:
        if isinstance(other, RestoreJob) or other.name == job.name:
            continue
        if other.source.connection != job.source.connection:
            there = open_store(other.source.connection)
            same = (there.system, there.identity) == (here.system, here.identity)
            # Another login may find a table of no schema elsewhere.
            if not same or len(split_table(other.source.table)) < 2:
                continue
        found.append(other)
    return found


@dataclass(frozen=True, slots=True)
class PurgeOrder:
    """What has to be known before a job purges, as the source's catalog tells it now."""

    first: tuple[str, ...] = ()
    """Jobs of the task whose rows refer to the job's, directly or by others, leaf to root."""
    to_itself: bool = False
    """Rows of the job's table refer to others of it."""

    def follow(
        self,
        purge: Callable[[Collection[int] | None], None],
        runs: Runs,
        run: str,
        job: str,
        numbers: Collection[int] | None,
    ) -> None:
        """Purges batches; where rows refer to others of theirs, again as long as rows go.

        A row that was kept because another batch had one that refers to it may go afterwards.
        """
        wanted, before = numbers, _purged(runs, run, job)
        while True:
            purge(wanted)
            now = _purged(runs, run, job)
            if not self.to_itself or now == before:
                return
            wanted, before = runs.reopen(run, job, "purge", numbers), now
            if not wanted:
                return


def _purged(runs: Runs, run: str, job: str) -> int:
    return next(one.rows_purged for one in runs.summary(run).jobs if one.name == job)


def purge_order(task: Task, job: Job, open_store: OpenStore, mode: str = "system") -> PurgeOrder:
    """See ``PurgeOrder``; jobs whose purge is of another ``mode`` are left out."""
    if isinstance(job, RestoreJob):
        return PurgeOrder()
    others = [one for one in _beside(task, job, open_store) if one.purge == mode]
    with open_store(job.source.connection).session() as session:
        if not isinstance(session, Refers):
            return PurgeOrder()
        table = session.named(job.source.table)
        if table is None:
            return PurgeOrder()
        jobs = [(session.named(one.source.table), one.name) for one in others]
        among = {name for name, _ in jobs if name is not None and name != table}
        order = leaf_first(table, session.references, among)
        own = any(key.child == table for key in session.references(table))
    first = tuple(name for at in order for there, name in jobs if there == at)
    return PurgeOrder(first, own)


def in_purge_order(task: Task, names: Sequence[str], open_store: OpenStore) -> list[str]:
    """Jobs that are purged by hand, each behind those whose rows refer to its rows."""
    found: list[str] = []
    for name in names:
        order = purge_order(task, task.job(name), open_store, "manual") if names[1:] else None
        first = [] if order is None else [one for one in order.first if one in names]
        found += [one for one in (*first, name) if one not in found]
    return found

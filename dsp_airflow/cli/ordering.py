"""Jobs of ``dsp run`` in the order that ``after`` asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from dsp_airflow.engine.errors import Refused

if TYPE_CHECKING:
    from dsp_airflow.config import Job, Task
    from dsp_airflow.state.records import JobState, RunSummary


def at_once(task: Task, act: Callable[[str], None]) -> tuple[list[BaseException], list[str]]:
    """Does all jobs, each in a thread that first waits for those that it comes after.

    Returns the errors in the order of the file, and what is to be said of jobs that were not begun
    because one before them was not done.
    """
    from dsp_airflow.config.order import in_order

    after = {job.name: job.after for job in task.jobs}
    futures: dict[str, Future[str | None]] = {}

    def one(name: str) -> str | None:
        wait([futures[before] for before in after[name]])
        missing = [before for before in after[name] if not _is_done(futures[before])]
        if missing:
            return f"{name} was not begun: it comes after {', '.join(missing)}, not done."
        act(name)
        return None

    with ThreadPoolExecutor(len(after), thread_name_prefix="dsp-job") as pool:
        # What a job waits for is begun before it, and has a thread of its own.
        for name in in_order(after):
            futures[name] = pool.submit(one, name)
    ended = [futures[name] for name in after]
    errors = [error for future in ended if (error := future.exception()) is not None]
    told = [future.result() for future in ended if future.exception() is None]
    return errors, [words for words in told if words is not None]


def require_through(task: Task, found: RunSummary, name: str, among: Collection[str]) -> None:
    """``Refused`` where a job that ``name`` comes after is neither asked for nor done."""
    jobs = {job.name: job for job in task.jobs}
    states: Mapping[str, JobState] = {one.name: one.state for one in found.jobs}
    missing = [
        before
        for before in jobs[name].after
        if before not in among and not _is_through(jobs[before], states.get(before))
    ]
    if missing:
        raise Refused(
            f"job {name} comes after {', '.join(missing)}, which this run has not done yet; run it "
            "first, or the whole task without --job"
        )


def _is_done(future: Future[str | None]) -> bool:
    return future.exception() is None and future.result() is None


def _is_through(job: Job, state: JobState | None) -> bool:
    """Whether its last step before a purge is done."""
    return state == "succeeded" or (job.purge == "system" and state in ("checked", "purging"))

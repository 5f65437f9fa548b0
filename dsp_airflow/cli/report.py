"""What a run, check or purge came to: one document, or a table."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import enforced
from dsp_airflow.cli.errors import text
from dsp_airflow.engine.errors import DspError, Terminated

if TYPE_CHECKING:
    from rich.console import Console

    from dsp_airflow.config import Task
    from dsp_airflow.state.records import JobSummary
    from dsp_airflow.steps import TaskRun

JOB_KEYS = (
    "name",
    "state",
    "rows_total",
    "rows_read",
    "rows_written",
    "rows_failed",
    "rows_checked",
    "rows_different",
    "rows_purged",
    "rows_kept",
    "batches",
    "error",
)


class Report:
    """Filled while a command works; told once, whatever happens to the command.

    ``act`` says in words what was done. ``jobs`` are those that were asked for, so that one
    that was never begun is listed too.
    """

    def __init__(self, act: str, *, as_json: bool, quiet: bool = False) -> None:
        self.act = act
        self.as_json = as_json
        self.quiet = quiet
        self.task: str | None = None
        self.run: TaskRun | None = None
        self.jobs: tuple[str, ...] = ()
        self.errors: dict[str, BaseException] = {}
        self.error: BaseException | None = None
        self.remarks: list[str] = []
        self.more: dict[str, Any] = {}
        """What only this command tells, under names of its own."""
        self._lock = threading.Lock()
        self._told = False

    def tell(self) -> None:
        """Writes the result to stdout, the first time it is called."""
        with self._lock:
            if self._told:
                return
            self._told = True
            if self.as_json:
                output.write_json(self.document())
            elif self.run is not None and not self.quiet:
                self._write_table()

    def document(self) -> dict[str, Any]:
        """The result. An error that belongs to no job stands beside the jobs."""
        jobs = self._jobs()
        found: dict[str, Any] = {
            "task": self.task,
            "run": self.run.run.id if self.run else None,
            "state": self._state(),
            "jobs": jobs,
            "approval_enforced": enforced(),
            **self.more,
        }
        if self.error is not None and not any(job["error"] for job in jobs):
            found["error"] = text(self.error)
        return found

    def _state(self) -> str:
        if self.error is None:
            return "succeeded"
        stopped = isinstance(self.error, (Terminated, KeyboardInterrupt))
        return "terminated" if stopped else "failed"

    def _jobs(self) -> list[dict[str, Any]]:
        known: Mapping[str, JobSummary] = {}
        if self.run is not None:
            try:
                known = {job.name: job for job in self.run.summary().jobs}
            except DspError as error:
                # The command may have failed for this very reason; its result is told anyway.
                self.error = self.error or error
        names = [*known, *(name for name in self.jobs if name not in known)]
        return [self._job(name, known.get(name)) for name in names]

    def _job(self, name: str, found: JobSummary | None) -> dict[str, Any]:
        if found is not None:
            job = job_document(found)
        else:
            job = dict.fromkeys(JOB_KEYS, 0) | {"name": name, "state": "waiting", "error": None}
        error = self.errors.get(name)
        if error is not None and not job["error"]:
            stopped = isinstance(error, Terminated)
            job |= {"state": "terminated" if stopped else "failed", "error": text(error)}
        return job

    def _write_table(self) -> None:
        document = self.document()
        shown = output.console()
        title = f"{self.act} {document['run']} of task {self.task}: {document['state']}"
        show_jobs(shown, title, document["jobs"])
        for remark in self.remarks:
            shown.print(remark)


def job_document(job: JobSummary) -> dict[str, Any]:
    """A job's counts under the document's names."""
    found = {key: getattr(job, key) for key in JOB_KEYS}
    if job.rows_missing:
        found |= {"rows_missing": job.rows_missing, "rows_deleted": job.rows_deleted}
    if job.rows_gone:
        found["rows_gone"] = job.rows_gone
    if job.swapped_at is not None:
        found["swapped_at"] = job.swapped_at
    if job.losses:
        found["losses"] = [asdict(loss) for loss in job.losses]
    return found


def show_jobs(shown: Console, title: str, jobs: Sequence[Mapping[str, Any]]) -> None:
    """The jobs of a run for a person: a line each, or a column each where lines are too long."""
    keys = [key for key in JOB_KEYS if key != "error"]
    heads = ["job", *(key.removeprefix("rows_") for key in keys[1:])]
    rows = [[job[key] for key in keys] for job in jobs]
    made = output.table(title, heads, rows, right=heads[2:])
    if (
        shown.measure(made, options=shown.options.update(max_width=output.WIDE)).maximum
        > shown.width
    ):
        names, *facts = zip(heads, *rows, strict=True)
        made = output.table(title, [str(name) for name in names], facts)
    shown.print(made)
    for job in jobs:
        if "rows_missing" in job:
            shown.print(
                f"Deleted from the target: {job['name']}: {job['rows_deleted']:,} of "
                f"{job['rows_missing']:,} rows that the source does not have"
            )
        if "swapped_at" in job:
            shown.print(f"Swap: {job['name']}: the new table stands in the target's place")
        for loss in job.get("losses", ()):
            shown.print(f"Loss: {job['name']}: {_lost(loss)}")


def _lost(loss: Mapping[str, Any]) -> str:
    """What a policy made of values, in words."""
    count, column, rule = f"{loss['values']:,}", loss["column"], loss["rule"]
    if rule == "missing":
        return f"{count} documents have no field for {column}, which is NULL there"
    return f"{count} values of {column} did not fit, on_loss: {rule}"


@contextmanager
def reporting(report: Report) -> Iterator[None]:
    """Whatever ends the block, the report is told, once and with the error in it."""
    output.stdout()
    try:
        yield
    except BaseException as error:
        report.error = error
        report.tell()
        raise
    report.tell()


def load(report: Report, file: Path) -> Task:
    """The task of the file, named in the report as soon as it is known."""
    from dsp_airflow.config import load_task
    from dsp_airflow.config.tasknames import name_in

    report.task = name_in(file)
    task = load_task(file)
    report.jobs = tuple(job.name for job in task.jobs)
    return task


def chosen(report: Report, task: Task, job: str | None) -> tuple[str, ...]:
    """The names of the jobs to work on: the one that was asked for, or all."""
    from dsp_airflow.config.errors import listed, nearest
    from dsp_airflow.engine.errors import ConfigError

    names = tuple(one.name for one in task.jobs)
    if job is None:
        return names
    if job not in names:
        near = nearest(job, names)
        hint = f"; did you mean {near}?" if near else f"; it has {listed(names)}"
        raise ConfigError(f"task {task.name} has no job {job!r}{hint}")
    report.jobs = (job,)
    return report.jobs

"""``dsp run``: a whole task in this process."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import acting, gate_for_run
from dsp_airflow.cli.errors import raise_worst, text
from dsp_airflow.cli.granted import permit_for
from dsp_airflow.cli.ordering import at_once, require_through
from dsp_airflow.cli.report import Report, chosen, load, reporting
from dsp_airflow.cli.stopping import Stopper
from dsp_airflow.cli.surroundings import log_to_stderr, opener
from dsp_airflow.engine.errors import DspError, Terminated
from dsp_airflow.engine.events import Quiet

if TYPE_CHECKING:
    from dsp_airflow.config import Task
    from dsp_airflow.engine.ports import Phase
    from dsp_airflow.progress import RichWatch
    from dsp_airflow.state.records import BatchStatus
    from dsp_airflow.steps import TaskRun


def run(file: Path, *, job: str | None, new: bool, as_json: bool, quiet: bool) -> None:
    """Plans, copies and checks the jobs, then purges what the system is to purge."""
    report = Report("Run", as_json=as_json, quiet=quiet)
    with reporting(report), ExitStack() as stack:
        task = load(report, file)
        names = chosen(report, task, job)
        log_to_stderr()
        from dsp_airflow.opening import open_run
        from dsp_airflow.state.database import open_state

        stopper = stack.enter_context(Stopper(report))
        database = stack.enter_context(open_state(create=True))
        watch = None if quiet else stack.enter_context(shown(task))
        work = open_run(
            database,
            task,
            file.absolute(),
            opener(),
            watch=watch or Quiet(),
            triggered_by=acting(),
            new=new,
        )
        report.run = work
        stopper.attach(work)
        work.permit = permit_for(database, task, quiet=quiet)
        work.gate = gate_for_run(work, quiet=quiet)
        Whole(work, names, watch, report).do()


class Whole:
    """One execution of the jobs that were asked for."""

    def __init__(
        self, work: TaskRun, names: Sequence[str], watch: RichWatch | None, report: Report
    ) -> None:
        self.work = work
        self.names = names
        self.watch = watch
        self.report = report

    def do(self) -> None:
        """From the plan to the purge; records how it ended."""
        work = self.work
        try:
            work.begin()
            if work.task.execution == "parallel" and len(self.names) > 1:
                errors, waiting = at_once(work.task, lambda name: self._guarded(name, self._job))
                self.report.remarks += waiting
                raise_worst(errors)
            else:
                for name in self.names:
                    require_through(work.task, work.summary(), name, self.names)
                for name in self.names:
                    self._guarded(name, self._job)
            self._purge()
        except BaseException as error:
            _recorded(work, error)
            raise
        rest = self._rest()
        if rest:
            _recorded(work, Terminated(f"{', '.join(rest)} not done yet; dsp run goes on with it"))
            self.report.remarks.append(
                f"The run is not finished: without --job it goes on with {', '.join(rest)}."
            )
        else:
            work.finish()
            work.gate.ended()

    def _job(self, name: str) -> None:
        steps: list[tuple[str, Callable[[str], object]]] = [
            ("plan", self.work.plan),
            ("copy", self.work.copy),
            ("check", self.work.check),
            ("delete_missing", self.work.delete_missing),
            ("swap", self.work.swap),
            ("drop", self.work.drop_drill),
        ]
        if self.work.is_tried(name):
            # Whoever was killed before he could say so has dropped its table already.
            steps = steps[-1:]
        for phase, step in steps:
            self.work.pace.before_batch()
            if phase in ("copy", "check"):
                expect(self.watch, self.work, "copy" if phase == "copy" else "check", name)
            step(name)

    def _guarded(self, name: str, act: Callable[[str], object]) -> None:
        try:
            act(name)
        except BaseException as error:
            self.report.errors[name] = error
            raise

    def _purge(self) -> None:
        wanted = [job.name for job in self.work.task.jobs if job.purge == "system"]
        if not wanted:
            return
        waiting = self._unproved()
        if waiting and len(self.names) < len(self.work.task.jobs):
            self.report.remarks.append(
                f"Purge of {', '.join(wanted)} waits until every job is copied and checked; "
                f"missing: {', '.join(waiting)}."
            )
            return
        for name in wanted:
            self._guarded(name, self._purge_one)

    def _purge_one(self, name: str) -> None:
        self.work.pace.before_batch()
        expect(self.watch, self.work, "purge", name)
        self.work.purge(name)

    def _unproved(self) -> list[str]:
        """The jobs of the task that are not copied and checked, in its order."""
        found = {job.name: job for job in self.work.summary().jobs}
        waiting = []
        for job in self.work.task.jobs:
            one = found.get(job.name)
            copied = one is not None and one.batches_copied == one.batches
            checked = one is not None and (job.check is None or one.batches_checked == one.batches)
            if not (copied and checked):
                waiting.append(job.name)
        return waiting

    def _rest(self) -> list[str]:
        """The jobs of the task that this run has not done: ``--job`` left them out."""
        done = {job.name for job in self.work.summary().jobs if job.state == "succeeded"}
        return [job.name for job in self.work.task.jobs if job.name not in done]


def shown(task: Task) -> RichWatch:
    """Progress on stderr; tables are called what the task file calls them."""
    from dsp_airflow.progress import RichWatch

    return RichWatch(tables={job.name: job.source.table for job in task.jobs})


def expect(
    watch: RichWatch | None,
    work: TaskRun,
    phase: Phase,
    name: str,
    among: Callable[[BatchStatus], bool] = lambda _: True,
) -> None:
    """Tells the bars what of a phase is done already, of the batches that it is about."""
    if watch is None:
        return
    attribute = {"copy": "copied_at", "check": "checked_at", "purge": "purged_at"}[phase]
    done = total = 0
    for batch in filter(among, work.runs.each_batch(work.run.id, name)):
        total += batch.rows
        done += 0 if getattr(batch, attribute) is None else batch.rows
    watch.expect(phase, name, done, total)


def user() -> str | None:
    """Who started the command, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _recorded(work: TaskRun, error: BaseException) -> None:
    """Ends the run in the state database; where that fails, the first error is what counts."""
    try:
        work.finish(error)
        work.gate.ended(text(error))
    except DspError as also:
        error.add_note(f"and its end could not be recorded: {also}")
        output.note(f"the end of the run could not be recorded: {also}", "ERROR")

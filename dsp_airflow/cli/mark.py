"""``dsp mark-deleted``: batches whose rows somebody removed from the source by hand."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from dsp_airflow.cli.approving import actor, gate_for_mark
from dsp_airflow.cli.check import existing, planned
from dsp_airflow.cli.errors import text
from dsp_airflow.cli.granted import permit_for
from dsp_airflow.cli.purge import purgeable, within
from dsp_airflow.cli.report import Report, load, reporting
from dsp_airflow.cli.run import shown
from dsp_airflow.cli.stopping import Stopper
from dsp_airflow.cli.surroundings import log_to_stderr
from dsp_airflow.engine.batches import parse_batches
from dsp_airflow.engine.errors import ConfigError


def mark_deleted(
    run_id: str, *, batches: str, job: str | None, file: Path | None, as_json: bool
) -> None:
    """Marks what is gone; exits with 4 when rows of some batch still stand."""
    report = Report("Marking of run", as_json=as_json)
    with reporting(report), ExitStack() as stack:
        numbers = parse_batches(batches)
        log_to_stderr()
        from dsp_airflow.marking import require_marked
        from dsp_airflow.state.database import open_state
        from dsp_airflow.state.runs import Runs
        from dsp_airflow.state.switches import Switches

        stopper = stack.enter_context(Stopper(report))
        database = stack.enter_context(open_state(create=True))
        task = load(report, file or file_of(Runs(database).get(run_id).file))
        names = purgeable(report, task, job)
        if len(names) > 1:
            listed = ", ".join(names)
            raise ConfigError(f"task {task.name} has several jobs; name one with --job: {listed}")
        (name,) = names
        watch = shown(task)
        work = existing(database, task, run_id, watch)
        Switches(database).require_online(task.name)
        report.run = work
        planned(work, name)
        within(work, name, numbers)
        work.permit = permit_for(database, task, "purge")
        work.gate = gate_for_mark(work, name, numbers)
        stopper.attach(work)
        stack.enter_context(watch)
        try:
            refused = work.mark_deleted(name, numbers, actor())
            report.more["refused"] = [asdict(one) for one in refused]
            require_marked(name, refused)
        except BaseException as error:
            report.errors[name] = error
            work.gate.ended(text(error))
            raise
        work.gate.ended()


def file_of(recorded: str) -> Path:
    """The task file of a run, as it was recorded."""
    file = Path(recorded)
    if not file.is_file():
        raise ConfigError(f"the run's task file is not at {recorded}; name it with --file")
    return file

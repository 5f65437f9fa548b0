"""``dsp repair``: copies once more what a check found to differ."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from dsp_airflow.cli.approving import acting, gate_for_repair
from dsp_airflow.cli.check import existing
from dsp_airflow.cli.errors import text
from dsp_airflow.cli.granted import permit_for
from dsp_airflow.cli.mark import file_of
from dsp_airflow.cli.report import Report, load, reporting
from dsp_airflow.cli.run import shown
from dsp_airflow.cli.stopping import Stopper
from dsp_airflow.cli.surroundings import log_to_stderr


def repair(run_id: str, *, job: str | None, file: Path | None, as_json: bool) -> None:
    """Exits with 3 when rows differ still."""
    report = Report("Repair of run", as_json=as_json)
    with reporting(report), ExitStack() as stack:
        log_to_stderr()
        from dsp_airflow.repairing import repair as mend
        from dsp_airflow.repairing import repairable
        from dsp_airflow.state.database import open_state
        from dsp_airflow.state.runs import Runs
        from dsp_airflow.state.switches import Switches

        stopper = stack.enter_context(Stopper(report))
        database = stack.enter_context(open_state(create=True))
        task = load(report, file or file_of(Runs(database).get(run_id).file))
        watch = shown(task)
        work = existing(database, task, run_id, watch)
        Switches(database).require_online(task.name)
        report.run = work
        names = report.jobs = repairable(work, job)
        work.permit = permit_for(database, task)
        work.gate = gate_for_repair(work, names)
        stopper.attach(work)
        stack.enter_context(watch)
        for name in names:
            work.pace.before_batch()
            try:
                mend(work, name, acting())
            except BaseException as error:
                report.errors[name] = error
                work.gate.ended(text(error))
                raise
        work.gate.ended()

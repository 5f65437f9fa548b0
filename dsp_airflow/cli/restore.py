"""``dsp restore``: rows of an archived run back into a table, proved there."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dsp_airflow.cli.approving import acting, gate_for_run
from dsp_airflow.cli.granted import permit_for, require_reading
from dsp_airflow.cli.report import Report, load, reporting
from dsp_airflow.cli.run import Whole, shown
from dsp_airflow.cli.stopping import Stopper
from dsp_airflow.cli.surroundings import log_to_stderr, opener
from dsp_airflow.engine.errors import ConfigError

if TYPE_CHECKING:
    from dsp_airflow.config import Task
    from dsp_airflow.restoring import Wish
    from dsp_airflow.state.database import StateDatabase

LATEST = "latest"


def restore(
    file: Path | None,
    wish: Wish,
    *,
    run_id: str | None,
    job: str | None,
    manifest: str | None,
    storage: str,
    new: bool,
    as_json: bool,
) -> None:
    """Restores by a task file and a run, or by a manifest; goes on with an unfinished restore."""
    report = Report("Restore", as_json=as_json)
    with reporting(report), ExitStack() as stack:
        if (file is None) == (manifest is None):
            raise ConfigError("give a task file and --run, or --manifest with its address")
        if file is None and (run_id or job or wish.children):
            raise ConfigError(
                "--run, --job and --children belong to a task file; a manifest is of one job"
            )
        if file is not None and run_id is None:
            raise ConfigError("say which run with --run: an id as dsp status shows it, or latest")
        log_to_stderr()
        from dsp_airflow.opening import open_run
        from dsp_airflow.state.database import open_state

        stopper = stack.enter_context(Stopper(report))
        database = stack.enter_context(open_state(create=True))
        task = _asked(report, database, file, wish, run_id, job, manifest, storage)
        report.task = task.name
        names = report.jobs = tuple(one.name for one in task.jobs)
        watch = stack.enter_context(shown(task))
        work = open_run(
            database,
            task,
            (file or Path()).absolute(),
            opener(),
            watch=watch,
            triggered_by=acting(),
            new=new,
        )
        report.run = work
        stopper.attach(work)
        work.permit = permit_for(database, task, "restore")
        work.gate = gate_for_run(work, "restore")
        work.by_hand = acting()
        Whole(work, names, watch, report).do()


def _asked(
    report: Report,
    database: StateDatabase,
    file: Path | None,
    wish: Wish,
    run_id: str | None,
    job: str | None,
    manifest: str | None,
    storage: str,
) -> Task:
    from dsp_airflow.permissions.needs import at_address
    from dsp_airflow.restoring import of_manifest, of_run

    opened = opener()
    if file is None:
        require_reading(opened, [at_address(storage, manifest or "")])
        return of_manifest(manifest or "", storage, wish, opened)
    earlier = None if run_id == LATEST else run_id
    task = load(report, file)
    permit = permit_for(database, task, "archive", quiet=True)
    return of_run(database, task, earlier, job, wish, opened, permit)

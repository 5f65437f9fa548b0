"""``dsp terminate``: asks a run to stop at the edge of its batches."""

from __future__ import annotations

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import acting
from dsp_airflow.cli.named import run_of


def terminate(named: str, *, reason: str | None, as_json: bool) -> None:
    """Whoever works on the run stops; a run that nobody works on ends here."""
    output.stdout()
    from dsp_airflow.state.database import open_state
    from dsp_airflow.state.runs import Runs

    with open_state(create=True) as database:
        runs = Runs(database)
        run = run_of(runs, named)
        found = runs.terminate(run, acting(), reason)
    if as_json:
        output.write_json(
            {
                "task": found.task,
                "run": found.id,
                "state": found.state,
                "asked_by": found.stop_requested_by,
                "asked_at": found.stop_requested_at,
                "reason": found.stop_reason,
            }
        )
    elif found.state == "terminated":
        output.write(f"Run {found.id} of task {found.task} has ended: nobody was working on it")
    else:
        output.write(
            f"Run {found.id} of task {found.task} is asked to stop; it does so at the edge of the "
            f"batches in work. See dsp status {found.id}"
        )

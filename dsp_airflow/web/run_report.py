"""What the page of a run shows, from the state database."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from dsp_airflow.standing import Note, standing
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.progress import batch_counts, count_differences
from dsp_airflow.state.records import BatchDifference, BatchStatus, JobSummary, Run
from dsp_airflow.state.runs import Runs

CELLS = 1000
"""Batches drawn one by one; of more only the counts are shown."""
LISTED = 50
"""Batches, and differences, that are listed with their reasons."""


@dataclass(frozen=True, slots=True)
class JobReport:
    """One job, with the batches that somebody may want to know of."""

    summary: JobSummary
    purges: bool
    batches: list[BatchStatus]
    states: list[tuple[str, int]]
    """How many batches are in each state."""
    source_data: list[tuple[str, int]]
    """Of a job whose rows may be deleted: of how many batches they are, and of how many not."""
    remarkable: list[BatchStatus]
    """Those in work, failed, different, or with rows kept."""

    @property
    def steps(self) -> list[tuple[str, int]]:
        """How many batches are through each step."""
        found = [("copied", self.summary.batches_copied), ("checked", self.summary.batches_checked)]
        return [*found, ("purged", self.summary.batches_purged)] if self.purges else found


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run as its page shows it; values of rows are no part of it, their keys are."""

    run: Run
    now: datetime
    jobs: list[JobReport]
    differences: list[BatchDifference]
    differences_left_out: int
    notes: list[Note]
    """What it waits for, who stops it, and whether anybody is there."""

    @property
    def title(self) -> str:
        """The task as people call it."""
        return str(self.run.definition.get("display_name") or self.run.task)

    @property
    def airflow_path(self) -> str | None:
        """The DAG run's page, from this one; ``None`` for a run outside of Airflow."""
        dag, _, rest = (self.run.external_key or "").partition("/")
        dag_run = quote(rest.partition("/")[0], safe="")
        return f"../../../../dags/{quote(dag, safe='')}/runs/{dag_run}" if dag_run else None

    @property
    def took(self) -> timedelta | None:
        """From the start of the execution to its end, or to now."""
        start = self.run.started_at
        if start is None:
            return None
        return timedelta(seconds=int(((self.run.ended_at or self.now) - start).total_seconds()))


def run_report(database: StateDatabase, dag_id: str, run_id: str) -> RunReport | None:
    """``None`` when this DAG has no such run."""
    runs = Runs(database)
    run = runs.find_id(run_id)
    if run is None or run.dag != dag_id:
        return None
    found = runs.differences(run.id, most=LISTED)
    return RunReport(
        run=run,
        now=database.now(),
        jobs=[_job(runs, run, job) for job in runs.summary(run.id).jobs],
        differences=found,
        differences_left_out=count_differences(database, run.id) - len(found),
        notes=standing(runs, run),
    )


def _job(runs: Runs, run: Run, summary: JobSummary) -> JobReport:
    purges = runs.job(run.id, summary.name).purge_mode != "none"
    states, source_data = batch_counts(runs.database, run.id, summary.name)
    remarkable = runs.each_batch(run.id, summary.name, remarkable=True)
    return JobReport(
        summary=summary,
        purges=purges,
        batches=runs.batches(run.id, summary.name) if summary.batches <= CELLS else [],
        states=sorted(states.items()),
        source_data=sorted(source_data.items()) if purges else [],
        remarkable=list(itertools.islice(remarkable, LISTED)),
    )

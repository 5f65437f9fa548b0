"""What the state database knows of runs that are archived."""

from __future__ import annotations

from dsp_airflow.engine.archive.listing import FoundRun
from dsp_airflow.engine.archive.manifest import Facts, Manifest, manifest_of, receipts_bytes
from dsp_airflow.engine.archive.verify import Record
from dsp_airflow.naming import plain
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.runs import Runs


def record_of(
    database: StateDatabase, task: str, job: str, at: FoundRun, told: Manifest | None
) -> Record | None:
    """What the folder of a run must hold; ``None`` for a run that the database does not know.

    That is so after ``dsp db prune``, and for an earlier attempt of a job that was planned anew.
    ``told`` is what the manifest says now: the source's system is known from it alone.
    """
    runs = Runs(database)
    run_id = at.run.partition(".")[0]
    run = runs.find_id(run_id)
    known = next((j for j in runs.jobs(run_id) if j.name == job), None)
    if run is None or run.task != task or known is None or not known.planned:
        return None
    ledger = SqlLedger(database, run_id, job)
    plan = ledger.plan()
    if ledger.run != at.run or plan is None or plan.archive is None:
        return None
    if plan.archive.prefix != at.prefix:
        return None
    records = list(ledger.records())
    if any(one.copied is None for one in records):
        return Record(None, None)
    variables = plain(run.variables.get(job, {}))
    system = told.source_system if told is not None else ""
    facts = Facts(task, variables, system, known.source_identity)
    manifest = manifest_of(plan, at.run, facts, records)
    checked = all(one.checked_at is not None for one in records)
    receipts = receipts_bytes(at.run, job, records) if checked and records else None
    return Record(manifest, receipts)

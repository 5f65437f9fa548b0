"""Restore drills: which archive a run tries, where to, and how that goes again."""

from __future__ import annotations

import hashlib
import math
import random
import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.tasks import Job
from dsp_airflow.engine import swap
from dsp_airflow.engine.archive.gridfs.source import DropsBuckets, HoldsBuckets
from dsp_airflow.engine.archive.layout import manifest_key
from dsp_airflow.engine.batches import said
from dsp_airflow.engine.errors import Mismatch, Refused
from dsp_airflow.engine.model import Plan
from dsp_airflow.engine.ports import Store
from dsp_airflow.naming import BATCHES, MANIFEST, RUN, TABLE
from dsp_airflow.state.archived import archived_runs
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.drills import Drills
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.records import Run

if TYPE_CHECKING:
    from dsp_airflow.engine.stores.s3 import S3Store

SHOWN: Final = 5
_OWN: Final = re.compile(r'_dsp_drill_\d{8}t\d{6}_[a-z2-7]{6}"?$')


def drawn(database: StateDatabase, job: Job, task: str, run: str, at: datetime) -> dict[str, str]:
    """What a run that began at a time tries, and in which table; nothing of any other job.

    The same for the same run, whenever it is asked: what is approved is what is done. Raises
    ``Refused`` where nothing is archived.
    """
    if not isinstance(job, RestoreJob) or job.drill is None:
        return {}
    wanted = job.drill
    known = archived_runs(database, wanted.task, wanted.job, at)
    if not known:
        raise Refused(
            f"job {job.name}: nothing to try: no run of task {wanted.task} that the state database "
            f"knows has archived rows by a job {wanted.job}"
        )
    last = Drills(database).last_right(task, job.name, at)
    chance = random.Random(_seed(run, job.name))  # noqa: S311 - which one, not a secret
    untried = [one for one in known if one not in last]
    chosen = chance.choice(untried) if untried else min(known, key=lambda one: last[one])
    ledger = SqlLedger(database, chosen, wanted.job)
    plan = ledger.plan()
    if plan is None or plan.archive is None:
        raise Refused(
            f"job {job.name}: job {wanted.job} of task {wanted.task} is not of type s3, so there "
            "is no archive to try"
        )
    numbers = [record.batch.number for record in ledger.records()]
    many = max(1, math.ceil(len(numbers) * wanted.percent / 100))
    return {
        RUN: chosen,
        MANIFEST: manifest_key(plan.archive, ledger.run),
        BATCHES: said(chance.sample(numbers, many)),
        TABLE: _table(job.target.table, run),
    }


def told(job: Job, run: Run) -> str:
    """What a run of a drill tries, in words."""
    its = run.variables[job.name]
    return f"Job {job.name} tries batches {its[BATCHES]} of run {its[RUN]}, by {its[MANIFEST]}"


def require_as_recorded(database: StateDatabase, job: RestoreJob, archive: S3Store) -> None:
    """Raises ``Mismatch`` unless the manifest is what the records of the archived run make.

    A restore writes a manifest again that is gone; here that is what a drill is to find.
    """
    if job.drill is None:
        return
    from dsp_airflow.archives import record_of
    from dsp_airflow.engine.archive.listing import FoundRun
    from dsp_airflow.engine.archive.manifest import apart, read_manifest

    bucket, key = archive.bucket(job.source.bucket), str(job.source.manifest)
    there = read_manifest(bucket, key)
    at = FoundRun(bucket, there.prefix, there.run)
    record = record_of(database, job.drill.task, job.drill.job, at, there)
    made = None if record is None else record.manifest
    fields = ["run"] if made is None else apart(there, made)
    if fields:
        raise Mismatch(
            f"{bucket.label(key)} was edited: it is not what the records of its run make "
            f"({', '.join(fields[:SHOWN])})"
        )


def drop(database: StateDatabase, run: Run, job: RestoreJob, store: Store) -> bool:
    """Drops what this run restored to; ``False`` where it is gone already."""
    found = _dropped(store, str(run.variables[job.name][TABLE]), job)
    Drills(database).dropped(run.id, job.name)
    return found


def drop_left(database: StateDatabase, run: Run, job: RestoreJob, store: Store) -> list[str]:
    """Drops what earlier drills of the job have left, with their markers; returns the names."""
    drills = Drills(database)
    dropped = []
    for one in drills.left(run, job.name, job.target.connection):
        # What of a batch was committed is known by its marker, which goes first.
        plan = SqlLedger(database, one.run, job.name).plan()
        if _dropped(store, one.target, job, plan, one.run):
            dropped.append(one.target)
        drills.dropped(one.run, job.name)
    return dropped


def _dropped(
    store: Store, table: str, job: RestoreJob, plan: Plan | None = None, run: str = ""
) -> bool:
    """Whether there was something of that name, be it a table or a bucket of files."""
    if not _OWN.search(table):
        raise Refused(f"job {job.name}: {table} has no name of a drill, and is not dropped")
    found = False
    for home in (store, store.buckets()) if isinstance(store, HoldsBuckets) else (store,):
        with home.session() as session:
            shape = session.describe(table)
            if shape is None:
                continue
            if plan is not None and session.prepare_markers(plan.target):
                session.forget_markers(plan.target, run, plan.job)
            if isinstance(session, DropsBuckets):
                session.drop_bucket(table)
            else:
                swap.swaps_of(session).discard(store.dialect.qualified(shape))
            found = True
    return found


def _seed(run: str, job: str) -> int:
    return int(hashlib.sha256(f"{run} {job}".encode()).hexdigest()[:16], 16)


def _table(stem: str, run: str) -> str:
    """A name of this run's own, that nobody else's table has."""
    ends = "_dsp_drill_" + re.sub(r"[^a-z0-9]+", "_", run.lower())
    return f'{stem[:-1]}{ends}"' if stem.endswith('"') else f"{stem}{ends}"

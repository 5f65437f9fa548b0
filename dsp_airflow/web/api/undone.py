"""What was done about a run since it ended: undone, done again by another, repaired."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Literal, TypeAlias

from dsp_airflow.engine.drift import drifted_in
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.records import Job, JobSummary, Run
from dsp_airflow.state.repairs import Repair, Repairs
from dsp_airflow.state.rollbacks import Rollback, Rollbacks
from dsp_airflow.web.paging import Document, Moment, Number

RollbackState: TypeAlias = Literal["begun", "partly", "done"]


class Kept(Document):
    """Rows that a rollback left as they are, for one reason."""

    why: str
    rows: Number


class RolledBack(Document):
    """What of a job was undone."""

    job: str
    by: str
    begun_at: Moment
    ended_at: Moment | None
    """Null: it goes on, or was killed; asked for again, it goes on where it was."""
    removed: Number
    restored: Number
    kept: Number
    reasons: list[Kept]
    """Of the first thousand rows that were kept."""


class Repaired(Document):
    """What of a job was copied and checked once more, the last time."""

    job: str
    by: str
    begun_at: Moment
    ended_at: Moment | None
    """Null: it goes on, or was killed; asked for again, it goes on where it was."""
    batches: Number
    rows_found: Number
    """Rows that differed before."""
    rows_left: Number
    """Those that differed still when it had ended."""


class Afterwards(Document):
    """What was done about a run since it ended."""

    rollbacks: list[RolledBack]
    again: str | None
    """The run that does its work again, since it was rolled back."""
    again_of: str | None
    """The run whose work it does again."""
    repairs: list[Repaired]
    repairable: list[str]
    """Jobs of which rows differ that a repair copies once more."""
    drifted: list[str]
    """Jobs for whose source table the run was refused, as it was not as before."""


def afterwards(database: StateDatabase, run: Run, counts: Collection[JobSummary]) -> Afterwards:
    """All that is known of it."""
    rollbacks, repairs = Rollbacks(database), Repairs(database).of_run(run.id)
    undone = rollbacks.of_run(run.id)
    gone = {one.job for one in undone}
    open_ = {one.job for one in repairs if one.ended_at is None}
    differing = {one.name for one in counts if one.rows_different} | open_
    errors = [run.error, *(one.error for one in counts)]
    return Afterwards(
        rollbacks=[_rolled_back(one) for one in undone],
        again=next((one.again for one in undone if one.again), None),
        again_of=rollbacks.again_of(run.id),
        repairs=[_repaired(one) for one in repairs],
        repairable=[name for name in mendable(run) if name in differing - gone],
        drifted=list(dict.fromkeys(filter(None, map(drifted_in, errors)))),
    )


def mendable(run: Run) -> list[str]:
    """The jobs whose copy writes over what differs."""
    return [
        one["name"]
        for one in run.definition.get("jobs", ())
        if one["type"] == "warm"
        and one.get("on_conflict") == "update"
        and one.get("mode") != "replace"
        # Of one that is not checked no DAG repairs what somebody found by hand.
        and one.get("check") is not None
    ]


def undoable(run: Run) -> list[str]:
    """The jobs of which it is noted what they wrote."""
    defined = run.definition.get("jobs", ())
    return [one["name"] for one in defined if one.get("rollback") or one["type"] == "s3"]


def rollback_state(found: Iterable[Rollback], jobs: Iterable[Job]) -> RollbackState | None:
    """How far a run is undone; ``None``: not at all."""
    undone = {one.job: one for one in found}
    if not undone:
        return None
    if any(one.ended_at is None for one in undone.values()):
        return "begun"
    whole = all(job.name in undone for job in jobs) and not any(one.kept for one in undone.values())
    return "done" if whole else "partly"


def _rolled_back(one: Rollback) -> RolledBack:
    reasons = Counter(str(row["why"]) for row in one.report)
    return RolledBack(
        job=one.job,
        by=one.begun_by,
        begun_at=one.begun_at,
        ended_at=one.ended_at,
        removed=one.removed,
        restored=one.restored,
        kept=one.kept,
        reasons=[Kept(why=why, rows=rows) for why, rows in reasons.most_common()],
    )


def _repaired(one: Repair) -> Repaired:
    return Repaired(
        job=one.job,
        by=one.begun_by,
        begun_at=one.begun_at,
        ended_at=one.ended_at,
        batches=len(one.batches),
        rows_found=one.rows_found,
        rows_left=one.rows_left,
    )

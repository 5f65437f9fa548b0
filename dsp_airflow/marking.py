"""Marking batches as removed from the source by hand: which ones, and what came of each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from dsp_airflow.engine import gone
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.gone import Unproved
from dsp_airflow.engine.work import Job
from dsp_airflow.state.runs import Runs

DELETE, MARK_DELETED = ACTS = ("delete", "mark_deleted")
"""What is done by hand about rows of a source: deleting them, or recording that they are gone."""
NAMED = 20
"""Batches that a refusal names."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The batches by number that are recorded now, and the others that were asked for."""

    marked: list[int]
    refused: list[Unproved]


def mark(
    job: Job[Any, Any],
    runs: Runs,
    run: str,
    task: str,
    numbers: Collection[int] | None,
    by: str,
) -> Outcome:
    """Records every batch of which nothing is left in the source. Safe to repeat.

    A refused one stays what it is; so a batch of which rows were kept is only opened again once
    it was seen that it can be recorded.
    """
    name = job.plan.job
    waiting = {
        batch.number: batch.rows_purged
        for batch in runs.each_batch(run, name)
        if batch.source_data != "processed" and (numbers is None or batch.number in numbers)
    }
    refused = gone.look(job, waiting)
    wanted = {n: rows for n, rows in waiting.items() if n not in {one.batch for one in refused}}
    if wanted:
        runs.record(run, name, by, "mark.begin", {"batches": sorted(wanted)})
        runs.reopen(run, name, "purge", wanted)
        gone.record(job, task, by, wanted)
    left = {b.number: b.rows_kept or 0 for b in runs.each_batch(run, name) if b.number in wanted}
    why = "were kept by a purge that was interrupted and is recorded now; mark it again"
    refused += [Unproved(n, why, rows) for n, rows in left.items() if rows]
    return Outcome([n for n, rows in left.items() if not rows], refused)


def require_marked(name: str, refused: Sequence[Unproved]) -> None:
    """Raises ``Refused`` where rows of a batch of this job could not be recorded as removed."""
    if refused:
        told = "; ".join(map(str, refused[:NAMED]))
        more = f"; and {len(refused) - NAMED:,} more batches" if len(refused) > NAMED else ""
        raise Refused(f"job {name}: not marked as deleted: {told}{more}")

"""The consistency check: whether what stands in the target is what was copied.

Every batch is counted. Sampled batches are compared by digest with what the copy read in its
own snapshot, so that a source that moved on raises no alarm. Where counts or digests differ,
rows are compared one by one; only value differences count.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from dsp_airflow.engine import compare
from dsp_airflow.engine.events import JobStarted, tell
from dsp_airflow.engine.model import (
    Checked,
    Claim,
    Copied,
    Difference,
    Digest,
    Plan,
    RowHash,
)
from dsp_airflow.engine.ports import Session
from dsp_airflow.engine.work import Done, Job, run_phase


def check(job: Job) -> None:
    """Checks every copied batch that was not checked yet; the ledger holds the findings."""
    tell(
        job.watch,
        JobStarted("check", job.plan.job, job.plan.target.label, job.plan.rows, job.plan.batches),
    )

    def step(source: Session, target: Session, claim: Claim) -> Done:
        found = check_batch(job.plan, source, target, claim)
        job.ledger.checked(claim, found)
        return found.rows, found.different

    run_phase(job, "check", step)


def check_batch(plan: Plan, source: Session, target: Session, claim: Claim) -> Checked:
    """The verdict on one batch."""
    batch, copied = claim.batch, claim.copied
    if copied is None:
        raise ValueError(f"batch {batch.number} was not copied")
    rows = copied.written.rows
    if not plan.ordered_alike:
        return _by_keys(plan, source, target, claim, copied)
    if not batch.sampled:
        standing = target.count(plan.target, batch.within)
        if standing == rows + copied.written.others.rows:
            return Checked(0, compared=False, different=0)
        return _by_rows(plan, source, target, claim, copied, certain=True)
    if copied.digest is not None:
        if target.digest(plan.target, batch.within) == _expected(copied, copied.digest):
            return Checked(rows, compared=True, different=0)
        return _by_rows(plan, source, target, claim, copied, certain=True)
    # The batch was chosen after it had been copied: only the source as it is now can be compared.
    if not (copied.written.others.rows or copied.written.ignored):
        with ThreadPoolExecutor(1) as pool:
            ours = pool.submit(source.digest, plan.source, batch.within)
            theirs = target.digest(plan.target, batch.within)
        if ours.result() == theirs:
            return Checked(rows, compared=True, different=0)
    return _by_rows(plan, source, target, claim, copied, certain=False)


def _expected(copied: Copied, digest: Digest) -> Digest:
    """What the target holds where a batch of this digest was written."""
    written = copied.written
    expected = digest + written.others if written.others.rows else digest
    return expected if written.instead is None else expected + written.instead


def _by_keys(plan: Plan, source: Session, target: Session, claim: Claim, copied: Copied) -> Checked:
    """The sides sort differently: no range of the target is the batch, only its keys are."""
    within, rows = claim.batch.within, copied.written.rows
    keys = [row.key for row in source.hashes(plan.source, within)]
    standing = target.digest(plan.target, None, keys)
    if not claim.batch.sampled and standing.rows == rows:
        return Checked(0, compared=False, different=0)
    whole = claim.batch.sampled and copied.digest is not None and len(keys) == rows
    if whole and copied.digest is not None and standing == _expected(copied, copied.digest):
        return Checked(rows, compared=True, different=0)
    # As many rows as were copied: their keys are the batch's.
    return _by_rows(plan, source, target, claim, copied, certain=whole)


def _by_rows(
    plan: Plan,
    source: Session,
    target: Session,
    claim: Claim,
    copied: Copied,
    *,
    certain: bool,
) -> Checked:
    """Compares row by row. ``certain``: the target surely is not what the copy left there."""
    within = claim.batch.within
    ours = compare.by_key(source.hashes(plan.source, within, mark=copied.mark))
    if plan.ordered_alike:
        theirs = compare.by_key(target.hashes(plan.target, within))
    else:
        theirs = compare.by_key(target.hashes(plan.target, keys=list(ours)))
    missing = [row for key, row in ours.items() if key not in theirs]
    changed = [row for key, row in ours.items() if key in theirs and theirs[key].hash != row.hash]
    # A row version older than the copy's snapshot is the one that was copied.
    proved_missing = [row for row in missing if row.settled is not False]
    proved_changed = [row for row in changed if row.settled is not False]
    extra, surplus = [], 0
    if plan.ordered_alike:
        extra = [key for key in theirs if key not in ours]
        left_over = len(theirs) - copied.written.rows - copied.written.others.rows
        surplus = max(0, left_over + len(proved_missing))
    younger = len(missing) + len(changed) - len(proved_missing) - len(proved_changed)
    if certain and not (proved_missing or proved_changed or surplus):
        # Something is wrong in the target, and only rows that changed since can hide it.
        proved_missing, proved_changed, younger = missing, changed, 0
    found = _differences(plan, source, target, proved_missing, proved_changed)
    silent = min(len(proved_changed), compare.REPORTED) - sum(d.kind == "changed" for d in found)
    different = len(proved_missing) + len(proved_changed) - silent + surplus
    if surplus:
        note = ""
        if len(extra) > surplus:
            note = f"{surplus} of the {len(extra)} rows that only the target holds came later"
        found += [Difference("extra", key, reason=note) for key in extra[: compare.REPORTED]]
    agree = silent > 0 or len(ours) >= copied.written.rows
    if certain and not different and not agree:
        # The rows to compare with are gone from the source; that something differs is sure.
        different = 1
        found.append(Difference("changed", (), reason="the source no longer has the row"))
    # Rows that changed, or that the source no longer has, compare with the copy's digest only.
    rows = copied.written.rows if certain else min(len(ours) - younger, copied.written.rows)
    return Checked(
        rows=rows,
        compared=rows > 0,
        different=different,
        differences=tuple(found[: compare.REPORTED]),
        note=_note(younger, restored=certain and not different),
    )


def _note(younger: int, *, restored: bool) -> str:
    parts = []
    if younger:
        parts.append(f"{younger} rows changed in the source since the copy")
    if restored:
        parts.append("values agree although their texts differ")
    return "; ".join(parts)


def _differences(
    plan: Plan,
    source: Session,
    target: Session,
    missing: list[RowHash],
    changed: list[RowHash],
) -> list[Difference]:
    found = [Difference("missing", row.key) for row in missing[: compare.REPORTED]]
    keys = [(row.key, row.at) for row in changed[: compare.REPORTED]]
    return found + (compare.changed(plan, source, target, keys) if keys else [])

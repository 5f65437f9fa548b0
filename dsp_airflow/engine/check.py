"""The consistency check: whether what stands in the target is what was copied.

Every batch is counted. Sampled batches are compared by digest with what the copy read in its
own snapshot, so that a source that moved on raises no alarm. Where counts or digests differ,
rows are compared one by one; only value differences count.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from dsp_airflow.engine import compare, multisets, quarantine
from dsp_airflow.engine.compare import Compared, stands_still
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
from dsp_airflow.engine.ports import CopySource, Digests, Session
from dsp_airflow.engine.work import Done, Job, run_phase


def check(job: Job[CopySource, Session]) -> None:
    """Checks every copied batch that was not checked yet; the ledger holds the findings."""
    tell(
        job.watch,
        JobStarted("check", job.plan.job, job.plan.target.label, job.plan.rows, job.plan.batches),
    )

    def step(source: CopySource, target: Session, claim: Claim) -> Done:
        found = check_batch(job.plan, source, target, claim)
        job.ledger.checked(claim, found)
        return found.rows, found.different

    run_phase(job, "check", step)


def check_batch(plan: Plan, source: CopySource, target: Digests, claim: Claim) -> Checked:
    """The verdict on one batch."""
    if claim.copied is None:
        raise ValueError(f"batch {claim.batch.number} was not copied")
    work = Compared(plan, source, target, claim.batch, claim.copied)
    found = _by_range(work) if plan.ordered_alike else None
    if found is None:
        found = _by_keys(work) if plan.key else multisets.compared(work)
    expected = "; ".join(
        f"{loss.values:,} values of {loss.column} are expected as on_loss: {loss.rule} made them"
        for loss in claim.copied.losses
    )
    count, damaged = quarantine.found(source, plan.source, claim.batch.within)
    told = quarantine.note(damaged, count)
    return replace(
        found,
        differences=(*found.differences, *damaged)[: compare.REPORTED],
        note="; ".join(filter(None, [found.note, expected, told])),
    )


def _by_range(work: Compared) -> Checked | None:
    """Clean, when the target's range holds what it has to; else it takes a closer look."""
    plan, within, written = work.plan, work.batch.within, work.copied.written
    if not work.batch.sampled:
        standing = work.target.count(plan.target, within)
        if standing != work.rows + written.others.rows:
            return None
        return Checked(0, compared=False, different=0)
    if work.copied.digest is not None:
        expected = _expected(work.copied, work.copied.digest)
        if written.others.rows:
            expected += written.others
        found = work.target.digest(plan.target, within)
    else:
        # The batch was chosen after it had been copied: only the source as it is now compares.
        if written.others.rows or written.ignored:
            return None
        with ThreadPoolExecutor(1) as pool:
            ours = pool.submit(work.source.digest, plan.source, within)
            found = work.target.digest(plan.target, within)
        expected = ours.result()
    return Checked(work.rows, compared=True, different=0) if found == expected else None


def _expected(copied: Copied, digest: Digest) -> Digest:
    """What the target holds under the keys of a batch of this digest."""
    instead = copied.written.instead
    return digest if instead is None else digest + instead


def _by_keys(work: Compared) -> Checked:
    """No range of the target is the batch: other rows stand there too, or it sorts differently."""
    plan, rows = work.plan, work.rows
    keys = compare.keys_of(work.source.hashes(plan.source, work.batch.within))
    standing = work.target.digest(plan.target, None, keys)
    # As many as were copied, and all are there.
    same = len(keys) == rows == standing.rows
    surplus = _surplus(work)
    if same and not surplus and not work.batch.sampled:
        return Checked(0, compared=False, different=0)
    digest = work.copied.digest
    # Whatever the source has gained since: what was copied stands there, value for value.
    if not surplus and digest is not None and standing == _expected(work.copied, digest):
        return Checked(rows, compared=True, different=0)
    alone = plan.ordered_alike and not plan.shared and not work.copied.written.others.rows
    decided = not work.batch.sampled or digest is not None
    # With a filter they are not surely the same ones: while one row leaves it, another may enter
    # that an earlier run copied.
    wrong = same and digest is not None and work.batch.sampled and plan.filter is None
    return _by_rows(work, certain=wrong or (alone and decided), still=stands_still(work))


def _surplus(work: Compared) -> int:
    """Rows in the target's range that nobody accounts for."""
    if not work.plan.ordered_alike or work.plan.shared:
        return 0
    standing = work.target.count(work.plan.target, work.batch.within)
    return max(0, standing - work.rows - work.copied.written.others.rows)


def _by_rows(work: Compared, *, certain: bool, still: bool) -> Checked:
    """Compares row by row. ``certain``: the target surely is not what the copy left there.

    ``still``: the source has not changed since the copy.
    """
    plan, within, written = work.plan, work.batch.within, work.copied.written
    ours = compare.by_key(work.source.hashes(plan.source, within, mark=work.copied.mark))
    if plan.ordered_alike:
        theirs = compare.by_key(work.target.hashes(plan.target, within))
    else:
        theirs = compare.by_key(
            work.target.hashes(plan.target, keys=compare.keys_of(ours.values()))
        )
    missing = [row for key, row in ours.items() if key not in theirs]
    changed = [row for key, row in ours.items() if key in theirs and theirs[key].hash != row.hash]
    # A row version older than the copy's snapshot is the one that was copied. Where the batch has
    # other rows by now than stood there once, those whose age is not known may be younger.
    keys = work.copied.keys
    moved = keys is not None and compare.sum_of(theirs) != keys
    if keys is not None and not moved and not work.batch.sampled:
        return Checked(0, compared=False, different=0)
    recent = (False, None) if moved else (False,)
    proved_missing = [row for row in missing if still or row.settled not in recent]
    proved_changed = [row for row in changed if still or row.settled not in recent]
    extra, surplus = [], 0
    if plan.ordered_alike and not plan.shared:
        extra = [key for key in theirs if key not in ours]
        left_over = len(theirs) - work.rows - written.others.rows
        surplus = min(len(extra), max(0, left_over + len(proved_missing)))
    younger = len(missing) + len(changed) - len(proved_missing) - len(proved_changed)
    if certain and not (proved_missing or proved_changed or surplus):
        # Something is wrong in the target, and only rows that changed since can hide it.
        proved_missing, proved_changed, younger = missing, changed, 0
    values, found = _changed(work, proved_changed)
    silent = len(proved_changed) - values
    # Which of them were left there by ``ignore`` nobody knows any more; how many is known.
    excused = min(values, written.unlike)
    if certain and excused == values and not (proved_missing or surplus):
        excused = max(0, values - 1)
    different = len(proved_missing) + values - excused + surplus
    found = [] if excused == values else found
    found = [Difference("missing", row.key) for row in proved_missing[: compare.REPORTED]] + found
    if surplus:
        note = ""
        if len(extra) > surplus:
            note = f"{surplus} of the {len(extra)} rows that only the target holds came later"
        found += [Difference("extra", key, reason=note) for key in extra[: compare.REPORTED]]
    agree = silent > 0 or len(ours) >= work.rows
    if certain and not different and not agree:
        # The rows to compare with are gone from the source; that something differs is sure.
        different = 1
        found.append(Difference("changed", (), reason="the source no longer has the row"))
    # Rows that changed, or that the source no longer has, compare with the copy's digest only.
    rows = work.rows if certain else min(len(ours) - younger, work.rows)
    return Checked(
        rows=rows,
        compared=rows > 0,
        different=different,
        differences=tuple(found[: compare.REPORTED]),
        note=_note(younger, excused, restored=certain and not different),
    )


def _note(younger: int, excused: int, *, restored: bool) -> str:
    parts = []
    if younger:
        parts.append(f"{younger} rows changed in the source since the copy")
    if excused:
        parts.append(f"{excused} rows that differ were left as they were by on_conflict: ignore")
    if restored:
        parts.append("values agree although their texts differ")
    return "; ".join(parts)


def _changed(work: Compared, rows: list[RowHash]) -> tuple[int, list[Difference]]:
    """How many of these rows differ by value, and the first of them with their columns."""
    count = 0
    found: list[Difference] = []
    spelled = any(compare.spelled(field.type) for field in work.plan.target.fields)
    for start in range(0, len(rows), compare.REPORTED):
        chunk = rows[start : start + compare.REPORTED]
        if start and not spelled:
            # Few types say the same in several ways; all others differ because their texts do.
            return count + len(rows) - start, found
        keys = [(row.key, row.at) for row in chunk]
        named = compare.changed(work.plan, work.source, work.target, keys)
        count += len(named)
        found += named[: compare.REPORTED - len(found)]
    return count, found

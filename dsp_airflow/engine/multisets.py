"""Tables without a key: which rows stand on one side more often than on the other.

Both databases sort the hashes of their rows; two sorted streams need no memory.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator

from dsp_airflow.engine.compare import REPORTED, Compared, stands_still
from dsp_airflow.engine.model import Checked, Difference, RowHash


def compared(work: Compared) -> Checked:
    """The verdict on a batch whose counts or digests differ."""
    plan, within = work.plan, work.batch.within
    still = stands_still(work)
    missing = extra = younger = 0
    found: list[Difference] = []
    for text, ours, fresh, theirs in _paired(
        work.source.hashes(plan.source, within, mark=work.copied.mark),
        work.target.hashes(plan.target, within),
    ):
        # Rows that are younger than the copy were not promised.
        excused = 0 if still else min(fresh, max(0, ours - theirs))
        lacking = max(0, ours - theirs) - excused
        younger, missing, extra = (
            younger + excused,
            missing + lacking,
            extra + max(0, theirs - ours),
        )
        kind = "missing" if lacking else "extra"
        if (lacking or theirs > ours) and len(found) < REPORTED:
            times = lacking or theirs - ours
            found.append(Difference(kind, (f"md5 {text}",), reason=f"{times} rows of this hash"))
    alike = not (missing or extra or younger)
    if not still:
        # Rows that only the target has may be such as changed or went in the source since.
        standing = work.target.count(plan.target, within)
        extra = min(extra, max(0, standing - work.rows + missing))
        found = [d for d in found if extra or d.kind == "missing"]
    different = missing + extra
    if work.copied.digest is not None and not different and not alike:
        # The target is not what was copied; the rows to compare with are gone from the source.
        different = 1
        found.append(Difference("changed", (), reason="the source no longer has the row"))
    note = f"{younger} rows changed in the source since the copy" if younger else ""
    if alike:
        note = "source and target are alike now, and are not what was copied"
    return Checked(work.rows, True, different, tuple(found), note)


def _paired(
    source: Iterable[RowHash], target: Iterable[RowHash]
) -> Iterator[tuple[str, int, int, int]]:
    """Each hash with its number of rows in the source, young ones among them, and in the target."""
    mine = ((row.hash, True, row.settled is False) for row in source)
    theirs = ((row.hash, False, False) for row in target)
    together = heapq.merge(mine, theirs, key=_hash)
    for text, rows in itertools.groupby(together, key=_hash):
        ours = young = others = 0
        for _, ours_too, fresh in rows:
            ours, others, young = ours + ours_too, others + (not ours_too), young + fresh
        yield text, ours, young, others


def _hash(row: tuple[str, bool, bool]) -> str:
    return row[0]

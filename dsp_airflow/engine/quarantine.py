"""Rows that are damaged where they stand: left out of copies and purges, and told of."""

from __future__ import annotations

import itertools
from collections import Counter

from dsp_airflow.engine.compare import REPORTED
from dsp_airflow.engine.model import Difference, KeyRange, Projection
from dsp_airflow.engine.ports import Quarantines

NAMED = 3
"""Rows that a warning names."""


def found(session: object, what: Projection, within: KeyRange) -> tuple[int, list[Difference]]:
    """How many of the matching rows of the range are damaged, and the first of them."""
    if not isinstance(session, Quarantines):
        return 0, []
    rows = session.quarantined(what, within)
    first = list(itertools.islice(rows, REPORTED))
    return len(first) + sum(1 for _ in rows), first


def warnings(session: object, what: Projection) -> list[str]:
    """What the plan says of them."""
    count, first = found(session, what, KeyRange())
    if not count:
        return []
    named = "; ".join(f"{', '.join(row.key)}: {row.reason}" for row in first[:NAMED])
    more = f"; and {count - NAMED:,} more" if count > NAMED else ""
    return [
        f"{count:,} of {what.label} are damaged, and are neither copied nor deleted ({named}{more})"
    ]


def note(first: list[Difference], count: int) -> str:
    """What the check of a batch says of them; empty when there are none."""
    if not count:
        return ""
    reasons = Counter(row.reason for row in first)
    told = ", ".join(f"{reason} ({times:,})" for reason, times in reasons.most_common(NAMED))
    return f"{count:,} damaged in the source and not copied: {told}"

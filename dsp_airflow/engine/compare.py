"""Row by row, where digests differ: what is missing, extra or changed, and in which columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from dsp_airflow.engine import canon, documents
from dsp_airflow.engine.model import (
    Batch,
    Copied,
    Difference,
    Digest,
    Field,
    Key,
    LogicalType,
    Plan,
    RowHash,
)
from dsp_airflow.engine.ports import CopySource, Digests
from dsp_airflow.engine.types import FLOATS

REPORTED = 1_000
"""Differences of one batch that are kept in full; all are counted."""
METHOD = "md5"
"""Of the digests made of rows that were hashed one by one."""
FETCHED = 8 * 1024 * 1024
"""Characters that a fetch of texts aims at, both sides together."""
SHOWN = 500
"""Characters of a value in a report."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A batch under comparison."""

    plan: Plan
    source: CopySource
    target: Digests
    batch: Batch
    copied: Copied

    @property
    def rows(self) -> int:
        """As many were copied."""
        return self.copied.written.rows


def stands_still(work: Compared) -> bool:
    """Whether the source surely is what it was when the batch was copied."""
    digest = work.copied.digest
    return digest is not None and digest == work.source.digest(work.plan.source, work.batch.within)


def by_key(rows: Iterable[RowHash]) -> dict[Key, RowHash]:
    """Row hashes by mapped key."""
    return {row.key: row for row in rows}


def keys_of(rows: Iterable[RowHash]) -> list[Key]:
    """Their mapped keys; what has none is in no other place."""
    return [row.key for row in rows if row.key]


def sum_of(keys: Iterable[Key]) -> int:
    """The sum of their hashes: the same for the same keys in any order."""
    return sum(
        int.from_bytes(hashlib.blake2b(json.dumps(key).encode(), digest_size=8).digest(), "big")
        for key in keys
    )


def digest_of(rows: Iterable[RowHash]) -> Digest:
    """The md5 digest of rows that were hashed one by one; equal to the database's own."""
    count = total = 0
    for row in rows:
        count += 1
        total += int.from_bytes(bytes.fromhex(row.hash[:16]), "big", signed=True)
    return Digest(count, total, METHOD)


def changed(
    plan: Plan,
    source: Digests,
    target: Digests,
    keys: Sequence[tuple[Key, Key]],
    reason: str = "",
) -> list[Difference]:
    """Names the columns in which rows differ. ``keys`` are (mapped key, source's own key).

    Rows whose texts differ while their values agree are left out.
    """
    found: list[Difference] = []
    at, count = 0, 1
    while at < len(keys):
        chunk = keys[at : at + count]
        ours = source.texts(plan.source, [own for _, own in chunk])
        theirs = target.texts(plan.target, [key for key, _ in chunk])
        found += _named(plan, chunk, ours, theirs, reason)
        at += count
        # Rows may be of any size: as many more are fetched as the last ones allow.
        size = sum(len(t or "") for texts in (ours, theirs) for row in texts.values() for t in row)
        count = max(1, min(2 * count, FETCHED * count // max(1, size)))
    return found


def _named(
    plan: Plan,
    keys: Sequence[tuple[Key, Key]],
    ours: Mapping[Key, tuple[str | None, ...]],
    theirs: Mapping[Key, tuple[str | None, ...]],
    reason: str,
) -> list[Difference]:
    found = []
    for key, _ in keys:
        mine, other = ours.get(key), theirs.get(key)
        if mine is None or other is None:
            found.append(Difference("changed", key, reason=reason or "it changes right now"))
            continue
        columns = [
            n
            for n, field in enumerate(plan.target.fields)
            if not _agree(field.type, mine[n], other[n])
        ]
        if columns:
            told = [
                part for n in columns for part in _parts(plan.target.fields[n], mine[n], other[n])
            ]
            found.append(
                Difference(
                    kind="changed",
                    key=key,
                    columns=tuple(name for name, _, _ in told),
                    source=tuple(_shown(text, plan.report_values) for _, text, _ in told),
                    target=tuple(_shown(text, plan.report_values) for _, _, text in told),
                    reason=reason,
                )
            )
    return found


def _parts(
    field: Field, mine: str | None, other: str | None
) -> list[tuple[str, str | None, str | None]]:
    """What to name of a column that differs: itself, or fields of the document that it is."""
    if field.type.identity in documents.PARTED and mine is not None and other is not None:
        return documents.differing(mine, other)
    return [(field.column, mine, other)]


def spelled(kind: LogicalType) -> bool:
    """Whether canonical texts of equal values may differ: JSON, and numbers of no set scale.

    Of a float two systems may find different fewest digits, where those lie between two floats.
    """
    if kind.name == "list" and kind.element is not None:
        return spelled(kind.element)
    return kind.name in ("json", *FLOATS) or (kind.name == "decimal" and kind.precision is None)


def _agree(kind: LogicalType, mine: str | None, other: str | None) -> bool:
    """Equal by value at the mapped type, where the texts may say the same differently."""
    if mine == other:
        return True
    if mine is None or other is None or not spelled(kind):
        return False
    try:
        if kind.name == "decimal":
            return Decimal(mine) == Decimal(other)
        if kind.name in FLOATS:
            # Zero has a sign, which the comparison does not see.
            return float(mine) == float(other) != 0
    except (ValueError, ArithmeticError):
        # A document may have something else there.
        return False
    if kind.name == "list" and kind.element is not None:
        ours, theirs = canon.python_elements(mine), canon.python_elements(other)
        if ours is None or theirs is None or len(ours) != len(theirs):
            return False
        pairs = zip(ours, theirs, strict=True)
        return all(_agree(kind.element, one, another) for one, another in pairs)
    try:
        return _json(mine, kind) == _json(other, kind)
    except (ValueError, RecursionError):
        # Numbers of thousands of digits, or nesting as deep: the texts differ, that has to do.
        return False


def _json(text: str, kind: LogicalType) -> str | None:
    return canon.python_text(json.loads(text, parse_float=Decimal), kind)


def _shown(text: str | None, values: bool) -> str | None:
    """A value for a report: itself, or a hash that tells equal from different."""
    if text is None:
        return None
    if values:
        rest = len(text) - SHOWN
        return text if rest <= 0 else f"{text[:SHOWN]}... and {rest:,} characters more"
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:16]

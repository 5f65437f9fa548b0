"""How a table differs from what it was."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dsp_airflow.engine.model import Column, Shape
from dsp_airflow.engine.types import fit

Kind: TypeAlias = Literal["added", "dropped", "widened", "narrowed", "key", "kind"]
TAKEN: frozenset[Kind] = frozenset(["added", "widened"])
"""What ``drift: add-columns`` takes as it is: no value that was there before means less now."""
DRIFTED = "is not as it was when"
"""In the message of a run that was refused for it, and of no other."""
_REFUSED = re.compile(rf"job ([A-Za-z0-9_-]+): .* {DRIFTED} ")


@dataclass(frozen=True, slots=True)
class Change:
    """One change, in words."""

    kind: Kind
    told: str


def changes(before: Shape, now: Shape) -> list[Change]:
    """What changed. Columns are found by their names, so their order is no matter."""
    return [] if before.open or now.open else list(_changes(before, now))


def drifted_in(error: str | None) -> str | None:
    """The job of a run that was refused for this, by its error; ``None`` where it was not."""
    found = _REFUSED.match(error or "")
    return None if found is None else found[1]


def _changes(before: Shape, now: Shape) -> Iterator[Change]:
    was, is_ = ({c.name: c for c in shape.columns} for shape in (before, now))
    added = [c for c in now.columns if c.name not in was]
    for column in before.columns:
        other = is_.get(column.name)
        if other is None:
            alike = [c.name for c in added if c.native == column.native]
            hint = f" (renamed to {alike[0]}?)" if len(alike) == 1 else ""
            yield Change("dropped", f"column {column.name} dropped{hint}")
        elif (column.native, column.nullable) != (other.native, other.nullable):
            yield _altered(column, other)
    for column in added:
        yield Change("added", f"column {column.name} added ({_type(column)})")
    if before.key != now.key:
        yield Change("key", f"the key was {_names(before.key)}, is {_names(now.key)}")
    if before.kind != now.kind:
        yield Change("kind", f"it was a {before.kind}, is a {now.kind}")


def _altered(was: Column, now: Column) -> Change:
    holds = fit(was.type, now.type)[0] in ("exact", "widening")
    wider = holds and (now.nullable or not was.nullable)
    word = "wider" if wider else "not wide enough for all that it held"
    told = f"column {was.name} was {_type(was)}, is {_type(now)}: {word}"
    return Change("widened" if wider else "narrowed", told)


def _type(column: Column) -> str:
    return column.native if column.nullable else f"{column.native} NOT NULL"


def _names(key: Sequence[str]) -> str:
    return f"({', '.join(key)})" if key else "none"

"""Rows that a job takes from its target: counted beforehand, asked about right before they go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Count: TypeAlias = Callable[[], int]
"""How many rows would go; it may take time, so nobody counts for nothing."""
MayRemove: TypeAlias = Callable[[Count], None]
"""Raises where they may not."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What a look counted."""

    rows: int
    """Rows of the target that would go."""
    standing: int
    """All rows of the target."""


def anything(count: Count) -> None:
    """Whatever it is, it may go."""

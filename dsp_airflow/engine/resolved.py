"""Which table a name of a task file stands for, before anybody reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Resolved:
    """The table that a name stands for now, or that would be created for it.

    ``folds``: the server takes names without their case. ``alone``: another name without a schema
    stands for a table of this schema, too, whichever tables there are.
    """

    schema: str
    name: str
    folds: bool = False
    alone: bool = True


@runtime_checkable
class Resolves(Protocol):
    """A session that tells what a name stands for. It looks into the catalog only."""

    def resolved(self, table: str) -> Resolved:
        """``ConfigError`` where a schema is needed and there is none."""
        ...

"""Where a job writes, as its definition says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Target:
    """A connection, and a table or place there; ``place`` is empty where it is the source's."""

    connection: str
    place: str

    def __str__(self) -> str:
        return f"{self.connection}: {self.place}" if self.place else self.connection


def target_in(defined: Mapping[str, Any]) -> Target:
    """Of a job in a run's definition, with templates as the file has them."""
    target = defined.get("target") or {}
    names = (target.get(name) for name in ("bucket", "prefix", "table", "collection"))
    parts = [".".join(one) if isinstance(one, list) else str(one) for one in names if one]
    return Target(str(target.get("connection", "")), "/".join(parts))

"""How validators report what they find, before a file and a line are known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic_core import PydanticCustomError

Location: TypeAlias = tuple[str | int, ...]

FINDING = "finding"
FINDINGS = "findings"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at `location` below the value that was validated.

    `offset` counts characters into the text found there. `involves` names the keys that the
    judgement rests on, so that it can be dropped when one of them is itself wrong.
    """

    location: Location
    message: str
    value: str | None = None
    suggestion: str | None = None
    offset: int | None = None
    involves: frozenset[str] = frozenset()

    def __str__(self) -> str:
        place = ".".join(str(step) for step in self.location)
        hint = f"; did you mean '{self.suggestion}'?" if self.suggestion else ""
        return f"{place}: {self.message}{hint}" if place else f"{self.message}{hint}"


def invalid(
    message: str, suggestion: str | None = None, offset: int | None = None
) -> PydanticCustomError:
    """The error for one scalar value; the place is added by whoever knows it."""
    context: dict[str, Any] = {"message": message, "suggestion": suggestion, "offset": offset}
    return PydanticCustomError(FINDING, "{message}", context)


def invalid_together(findings: Iterable[Finding]) -> PydanticCustomError:
    """The error for several findings inside one mapping."""
    found = tuple(findings)
    text = "; ".join(str(finding) for finding in found)
    return PydanticCustomError(FINDINGS, "{text}", {"text": text, "findings": found})

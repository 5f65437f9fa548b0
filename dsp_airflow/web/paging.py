"""Pages of lists, and how values are written: times in UTC with Z, big numbers as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, PlainSerializer

T = TypeVar("T")
MOST = 500
"""Entries of a page."""
EXACT = 2**53
"""Integers beyond this are no longer exact in JavaScript."""


class Document(BaseModel):
    """What is sent or answered. What is said of a field here is in the OpenAPI, too."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Page(Document, Generic[T]):
    """Some of a list, and how many there are in all."""

    items: list[T]
    total: int
    limit: int
    offset: int


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of a list is wanted."""

    limit: int
    offset: int

    def page(self, items: list[T], total: int) -> Page[T]:
        """These entries, as this page."""
        return Page(items=items, total=total, limit=self.limit, offset=self.offset)

    def cut(self, items: list[T]) -> Page[T]:
        """Of a whole list, this page."""
        return self.page(items[self.offset : self.offset + self.limit], len(items))


def ordered(lines: Iterable[T], field: str, *, descending: bool) -> list[T]:
    """A whole list by one of its fields, text without its case; what has none comes last."""
    values = [(getattr(one, field), one) for one in lines]
    known = [(_key(value), one) for value, one in values if value is not None]
    known.sort(key=lambda pair: pair[0], reverse=descending)
    return [one for _, one in known] + [one for value, one in values if value is None]


def _key(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _asked(
    limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Paging:
    return Paging(limit, offset)


Paged = Annotated[Paging, Depends(_asked)]
"""The page that a request asks for."""


def number(value: int) -> int | str:
    """As it is where JavaScript can hold it, or else as text."""
    return value if -EXACT <= value <= EXACT else str(value)


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC it is in no year from 1 to 9999") from None


Number = Annotated[int, PlainSerializer(number, return_type=int | str)]
"""A count, or any other integer that may be big."""
Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
"""A time with its zone. Where one is written it is in UTC, and ends in Z."""


def plain(value: Any) -> Any:
    """Anything fit for JSON, its integers and times as the API writes them."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return number(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return value

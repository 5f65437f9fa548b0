"""The batches that a phase is limited to, as conditions of statements."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator

from sqlalchemy import ColumnElement, and_, or_, true

from dsp_airflow.state.tables import BATCHES

_RANGES = 50
"""Ranges of numbers that one statement names: it stays short, however many there are."""


class Chosen:
    """Numbers of batches in parts, each a condition; ``None`` chooses all of them.

    Who looks for the next batch begins at the part that had one the last time, so that a
    claim costs the same whether few batches are chosen or many. Threads may share one.
    """

    def __init__(self, only: Collection[int] | None) -> None:
        self.only = only
        self.parts = [true()] if only is None else list(_parts(sorted(set(only))))
        self._at = 0

    def from_here(self) -> Iterator[tuple[int, ColumnElement[bool]]]:
        """Every part, with what ``found`` takes."""
        for place in range(self._at, self._at + len(self.parts)):
            yield place, self.parts[place % len(self.parts)]

    def found(self, place: int) -> None:
        """That part had one; the next look begins there."""
        self._at = place % len(self.parts)


def _parts(numbers: list[int]) -> Iterator[ColumnElement[bool]]:
    ranges = _ranges(numbers)
    while some := list(itertools.islice(ranges, _RANGES)):
        number = BATCHES.c.number
        # The outer bounds are for the index.
        yield and_(
            number.between(some[0][0], some[-1][1]),
            or_(*(number.between(first, last) for first, last in some)),
        )


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Of ascending numbers, the first and the last of each run without a gap."""
    for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        numbered = [number for _, number in run]
        yield numbered[0], numbered[-1]

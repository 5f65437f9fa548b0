"""Streams, purges and swaps of a store, whose driver errors are the engine's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeAlias

from dsp_airflow.engine import references
from dsp_airflow.engine.model import Digest, Key, KeyRange, Projection, RowHash
from dsp_airflow.engine.ports import Purge, Stream
from dsp_airflow.engine.swap import Replacement, Swaps

At: TypeAlias = Callable[[str], AbstractContextManager[None]]
"""Translates what the driver raises inside, naming the object that was worked on."""


class TranslatedStream:
    """See ``ports.Stream``."""

    def __init__(self, inner: Stream, at: At, label: str) -> None:
        self._inner = inner
        self._at = at
        self._label = label

    @property
    def rows(self) -> int:
        """See ``ports.Stream``."""
        return self._inner.rows

    @property
    def size(self) -> int:
        """See ``ports.Stream``."""
        return self._inner.size

    def __iter__(self) -> Iterator[bytes | memoryview]:
        with self._at(self._label):
            yield from self._inner


class TranslatedPurge:
    """See ``ports.Purge``."""

    def __init__(self, inner: Purge, at: At) -> None:
        self._inner = inner
        self._at = at

    def take(
        self, what: Projection, within: KeyRange, locked: Callable[[Digest], None] | None = None
    ) -> Digest | None:
        """See ``ports.Purge``."""
        with self._at(what.label):
            return self._inner.take(what, within, locked)

    def undo(self) -> None:
        """See ``ports.Purge``."""
        with self._at("purge"):
            self._inner.undo()

    def newest(self, what: Projection) -> Collection[Key]:
        """See ``ports.Purge``."""
        with self._at(what.label):
            return self._inner.newest(what)

    def take_keys(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        """See ``ports.Purge``."""
        with self._at(what.label):
            return self._inner.take_keys(what, keys)

    def referenced(self) -> Mapping[Key, str]:
        """See ``references.LeavesReferenced``."""
        return references.of(self._inner)

    def settle(self) -> None:
        """See ``ports.Purge``."""
        with self._at("purge"):
            self._inner.settle()

    def token(self) -> str:
        """See ``ports.Purge``."""
        with self._at("purge"):
            return self._inner.token()

    def commit(self) -> None:
        """See ``ports.Purge``."""
        with self._at("purge"):
            self._inner.commit()


class TranslatedSwaps:
    """See ``swap.Swaps``."""

    def __init__(self, inner: Swaps, at: At) -> None:
        self._inner = inner
        self._at = at

    def refusals(self, what: Projection, *, create: bool) -> list[str]:
        """See ``swap.Swaps``."""
        with self._at(what.label):
            return self._inner.refusals(what, create=create)

    def warnings(self, what: Projection) -> list[str]:
        """See ``swap.Swaps``."""
        with self._at(what.label):
            return self._inner.warnings(what)

    def beside(self, what: Projection) -> list[str]:
        """See ``swap.Swaps``."""
        with self._at(what.label):
            return self._inner.beside(what)

    def build(self, new: Replacement, *, begun: bool) -> None:
        """See ``swap.Swaps``."""
        with self._at(new.built.label):
            self._inner.build(new, begun=begun)

    def complete(self, new: Replacement) -> None:
        """See ``swap.Swaps``."""
        with self._at(new.built.label):
            self._inner.complete(new)

    def swap(self, new: Replacement) -> None:
        """See ``swap.Swaps``."""
        with self._at(new.target.label):
            self._inner.swap(new)

    def swapped(self, new: Replacement) -> bool:
        """See ``swap.Swaps``."""
        with self._at(new.target.label):
            return self._inner.swapped(new)

    def tidy(self, new: Replacement) -> None:
        """See ``swap.Swaps``."""
        with self._at(new.target.label):
            self._inner.tidy(new)

    def discard(self, table: str) -> None:
        """See ``swap.Swaps``."""
        with self._at(table):
            self._inner.discard(table)

"""Tables that have rows by number only: what a run costs besides them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from dsp_airflow.engine.model import (
    Batch,
    BatchSize,
    Column,
    Digest,
    Isolation,
    Key,
    KeyRange,
    LogicalType,
    OnConflict,
    Origin,
    Projection,
    RowHash,
    Shape,
    Written,
)
from dsp_airflow.engine.ports import Outcome, Session, Stream
from dsp_airflow.engine.stores.memory import MemorySession, MemoryStore

TABLE = "public.hollow"
EACH = 10_000
"""Rows of a batch."""


class HollowStore(MemoryStore):
    """A table of so many batches, each of them right whenever somebody looks.

    ``holds``: what a target has before it is written to is nothing.
    """

    def __init__(self, name: str, batches: int, *, holds: bool) -> None:
        super().__init__(name)
        self.batches = batches
        self.holds = holds
        columns = tuple(
            Column(column, LogicalType(kind), kind, nullable=False)
            for column, kind in (("id", "int64"), ("v", "string"))
        )
        self.add_table(Shape("public", "hollow", columns, ("id",), (("id",),)))

    @contextmanager
    def session(self) -> Iterator[Session]:
        session = HollowSession(self)
        try:
            yield session
        finally:
            session.close()


class HollowSession(MemorySession):
    def __init__(self, store: HollowStore) -> None:
        super().__init__(store)
        self._hollow = store

    def split(
        self, what: Projection, size: BatchSize, max_row_size: int
    ) -> tuple[Sequence[Batch], int]:
        del what, size, max_row_size
        edges = [None, *((str(n * EACH),) for n in range(1, self._hollow.batches + 1))]
        batches = [
            Batch(n, KeyRange(after, upto), EACH)
            for n, (after, upto) in enumerate(itertools.pairwise(edges), start=1)
        ]
        return batches, len(batches) * EACH * 100

    def holds_rows(self, what: Projection) -> bool:
        del what
        return self._hollow.holds

    def count(self, what: Projection, within: KeyRange) -> int:
        del what
        whole = within == KeyRange() and self._hollow.holds
        return self._hollow.batches * EACH if whole else EACH

    def digest(
        self, what: Projection, within: KeyRange | None, keys: Sequence[Key] | None = None
    ) -> Digest:
        del within, keys
        return Digest(EACH, 1, what.method)

    @contextmanager
    def snapshot(self, isolation: Isolation = "repeatable_read") -> Iterator[str | None]:
        del isolation
        yield "1"

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        del what, within, wire, max_row_size
        return HollowStream()

    def write(
        self,
        what: Projection,
        within: KeyRange,
        stream: Stream,
        *,
        wire: str,
        on_conflict: OnConflict,
        ordered_alike: bool,
        origin: Origin,
        marker: tuple[str, str, int] | None,
        fence: Callable[[], None],
        direct: bool = True,
    ) -> Written:
        del within, wire, on_conflict, ordered_alike, marker, direct
        fence()
        others = Digest(0, 0, what.method)
        return Written(EACH, EACH, others=others, origin=origin, bytes=stream.size)

    @contextmanager
    def purge(self) -> Iterator[HollowPurge]:  # type: ignore[override] # nothing to lock
        yield HollowPurge()

    def outcome(self, token: str) -> Outcome:
        del token
        return "committed"


class HollowStream:
    rows = EACH
    size = EACH * 100

    def __iter__(self) -> Iterator[bytes]:
        return iter(())


class HollowPurge:
    """Deletes a batch as a whole."""

    def take(
        self,
        what: Projection,
        within: KeyRange,
        locked: Callable[[Digest], None] | None = None,
    ) -> Digest:
        del within, locked
        return Digest(EACH, 1, what.method)

    def undo(self) -> None: ...

    def newest(self, what: Projection) -> Collection[Key]:
        del what
        return ()

    def take_keys(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        raise NotImplementedError(f"{what.label}: {len(keys)} rows one by one")

    def settle(self) -> None: ...

    def token(self) -> str:
        return "hollow"

    def commit(self) -> None: ...

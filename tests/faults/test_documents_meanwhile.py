"""Purges between MongoDB and tables while others change the documents of either side."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.model import Digest, RowHash
from dsp_airflow.engine.stores.mongodb.store import MongoSession
from tests.faults.tables import fill, job_of, rows_of
from tests.mysql.pairs import Pair
from tests.mysql.test_values import named, pair
from tests.share import share

__all__ = ["pair"]

ROWS = share(20_000, 1_500)


def checked(pair: Pair, rows: int, batch: int) -> None:
    fill(pair.source, rows)
    pair.write(job_of(pair, batch_size=batch, check={"percent": 100}))
    run = pair.open()
    for step in ("plan", "copy", "check"):
        getattr(run, step)("copy")


@named([("mongo", "pg18")])
def test_documents_of_the_source(pair: Pair) -> None:
    """What was deleted stands in the target as it was last; what has changed is still there."""
    checked(pair, ROWS, ROWS // 8)
    before = {row[0]: row for row in rows_of(pair.source)}
    stop, chance = threading.Event(), random.Random(2)
    changed: set[int] = set()

    def change() -> None:
        while not stop.is_set():
            number = chance.randint(1, ROWS)
            done = pair.source["t"].update_one({"_id": number}, {"$set": {"name": "changed"}})
            if done.matched_count:
                changed.add(number)
            stop.wait(0.005)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(10):
            # Documents that keep changing may make it give up, and are then tried again.
            with suppress(Transient):
                pair.open().purge("copy")
                break
    finally:
        stop.set()
        thread.join()
    left = {row[0]: row for row in rows_of(pair.source)}
    # Nothing that was changed in time is gone, and nothing else was kept.
    assert left.keys() == changed
    assert {row[0]: row for row in rows_of(pair.target)} == before
    job = pair.only()
    assert (job.rows_purged, job.rows_kept) == (ROWS - len(left), len(left))
    assert 0 < len(left) < ROWS


class Before:
    """Changes a document of the target before a proof of it is read, each time another one."""

    def __init__(self, pair: Pair, numbers: list[int]) -> None:
        self.left = numbers
        self._table = pair.target["t"]

    def digest(self, plain: Callable[..., Digest]) -> Callable[..., Digest]:
        def read(*given: Any, **named: Any) -> Digest:
            self.change()
            return plain(*given, **named)

        return read

    def hashes(self, plain: Callable[..., Iterator[RowHash]]) -> Callable[..., Iterator[RowHash]]:
        def read(*given: Any, **named: Any) -> Iterator[RowHash]:
            self.change()
            return plain(*given, **named)

        return read

    def change(self) -> None:
        if self.left:
            self._table.update_one({"_id": self.left.pop(0)}, {"$set": {"name": "theirs"}})


@named([("pg18", "mongo"), ("mongo", "mongo")])
def test_documents_of_the_target(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands there otherwise when it is read last is kept, however late it changed."""
    checked(pair, 20, 20)
    table = rows_of(pair.source)
    before = Before(pair, [3, 5, 7, 11])
    monkeypatch.setattr(MongoSession, "digest", before.digest(MongoSession.digest))
    monkeypatch.setattr(MongoSession, "hashes", before.hashes(MongoSession.hashes))
    pair.open().purge("copy")
    assert before.left == []
    assert rows_of(pair.source) == [row for row in table if row[0] in {3, 5, 7, 11}]
    job = pair.only()
    assert (job.rows_purged, job.rows_kept) == (16, 4)

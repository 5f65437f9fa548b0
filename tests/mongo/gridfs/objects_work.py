"""One phase of a job from a bucket of GridFS into S3, in a process that is killed at a request."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pymongo import monitoring

from dsp_airflow.opening import open_run
from dsp_airflow.restoring import Wish, of_manifest
from tests.mongo.gridfs.objects import Objects
from tests.mongo.gridfs.work import WRITES, Address, measured, small
from tests.s3.drills import Drills
from tests.servers import MongoDatabase
from tests.servers.s3 import client_of


@dataclass(frozen=True)
class Where:
    """All that a worker needs to know."""

    folder: Path
    source: Address
    target: Address
    endpoint: str
    key: str
    secret: str


def where_of(bench: Objects) -> Where:
    assert bench.place is not None
    server = bench.place.server

    def address(database: MongoDatabase) -> Address:
        return Address(database.server.uri(), database.name)

    return Where(
        bench.folder,
        address(bench.source),
        address(bench.target),
        server.endpoint,
        server.key,
        server.secret,
    )


class Elsewhere(Objects):
    """The bench as another process has it."""

    def store(self, conn_id: str) -> Any:
        if conn_id == "archive":
            return super().store(conn_id)
        from dsp_airflow.engine.stores.mongodb.store import MongoStore

        there = {"source": self.source, "target": self.target}[conn_id]
        return MongoStore(conn_id, {"host": there.uri()}, there.name)


class Killer(monitoring.CommandListener):
    """Ends the process at a request to S3 or a write to MongoDB, whichever has this number."""

    def __init__(self, at: int, also: frozenset[str] = frozenset()) -> None:
        self._at = at
        self._counted = WRITES | also
        self.seen = 0

    def one_more(self, **_: Any) -> None:
        self.seen += 1
        if self.seen == self._at:
            os.kill(os.getpid(), signal.SIGKILL)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in self._counted:
            self.one_more()

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


def opened(where: Where) -> Elsewhere:
    client = client_of(where.endpoint, where.key, where.secret)
    return Elsewhere(
        where.folder, cast("Any", where.source), cast("Any", where.target), client=client
    )


def phase(where: Where, name: str, at: int, manifest: str = "") -> None:
    """Copy, purge or restore (of a manifest), killed at its step of this number; 0 is never."""
    small()
    bench, killer = opened(where), Killer(at)
    bench.client.meta.events.register("before-send.s3", killer.one_more)
    monitoring.register(killer)
    if name == "restore":
        task = of_manifest(manifest, "archive", Wish(connection="target", table="fs"), bench.store)
        run = open_run(bench.state, task, bench.file, bench.store, new=False)
        run.begin()
        for step in ("plan", "copy", "check"):
            getattr(run, step)("copy")
        run.finish()
    else:
        getattr(bench.latest(), name)("copy")
    (where.folder / "steps").write_text(str(killer.seen))


def drill(where: Where, at: int) -> None:
    """A new drill, killed at its step of this number, which may be a collection that is dropped."""
    small()
    bench, killer = opened(where), Killer(at, frozenset({"create", "drop"}))
    bench.client.meta.events.register("before-send.s3", killer.one_more)
    monitoring.register(killer)
    Drills(bench).run()
    (where.folder / "steps").write_text(str(killer.seen))


def whole(where: Where) -> None:
    """The whole run; leaves what it took of memory."""
    with measured(where.folder):
        opened(where).run()


def back(where: Where, manifest: str) -> None:
    """The whole restore; leaves what it took, too."""
    with measured(where.folder):
        phase(where, "restore", 0, manifest)

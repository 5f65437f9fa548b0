"""One phase of a job between two buckets, in a process of its own that is killed at a command."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from pymongo import monitoring

from dsp_airflow.engine.stores.mongodb import leases
from dsp_airflow.engine.stores.mongodb.gridfs import split, staged, uploads, write
from tests.mongo.gridfs.buckets import BucketBench

WRITES = frozenset({"insert", "update", "delete", "commitTransaction"})


@dataclass(frozen=True)
class Address:
    """All that a worker needs to know of a database."""

    host: str
    name: str

    @property
    def server(self) -> Address:
        return self

    def uri(self) -> str:
        return self.host


class Killer(monitoring.CommandListener):
    """Ends the process at one of the commands that write: before it is sent, or once it is done."""

    def __init__(self, at: int, *, done: bool) -> None:
        self._at = at
        self._done = done
        self.seen = 0

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if event.command_name in WRITES:
            self.seen += 1
            if self.seen == self._at and not self._done:
                os.kill(os.getpid(), signal.SIGKILL)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        if event.command_name in WRITES and 0 < self._at <= self.seen and self._done:
            os.kill(os.getpid(), signal.SIGKILL)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


def bench_of(folder: Path, source: Address, target: Address) -> BucketBench:
    """The bench as another process has it."""
    return BucketBench(folder, cast("Any", source), cast("Any", target))


def phase(
    folder: Path, source: Address, target: Address, name: str, at: int, *, done: bool
) -> None:
    """Copy or purge, killed at its write of this number; leaves how many there were."""
    small()
    killer = Killer(at, done=done)
    monitoring.register(killer)
    getattr(bench_of(folder, source, target).latest(), name)("copy")
    (folder / "writes").write_text(str(killer.seen))


def small() -> None:
    """Limits that small files reach, and leases of the dead that end soon."""
    for module in (split, write):
        vars(module)["MOST_BYTES"] = 8 * 1024
    leases.TERM = timedelta(seconds=3)  # type: ignore[misc]
    staged.PIECE = 4 * 1024  # type: ignore[misc]
    uploads.REMOVED = 3  # type: ignore[misc]


def whole(folder: Path, source: Address, target: Address) -> None:
    """The whole run; leaves in a file how many KiB more than before it had in memory at most."""
    with measured(folder):
        bench_of(folder, source, target).run()


@contextmanager
def measured(folder: Path) -> Iterator[None]:
    """Leaves in a file how many KiB more the process has in memory at most than at the beginning.

    What it begins with are imports, those of all tests before it among them.
    """
    before = _resident("VmRSS")
    yield
    (folder / "peak").write_text(str(_resident("VmHWM") - before))


def _resident(what: str) -> int:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])

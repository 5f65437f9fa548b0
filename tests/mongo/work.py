"""Runs one phase of a task in a process of its own, to be killed there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from dsp_airflow.engine.errors import DspError
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.mongodb.store import MongoStore
from tests.engine.harness import Bench


@dataclass(frozen=True)
class Address:
    """All that a worker needs to know of a database."""

    uri: str
    name: str


class Worker(Bench[Address]):
    """The same task as the test's."""

    def store(self, conn_id: str) -> Store:
        place = {"source": self.source, "target": self.target}[conn_id]
        return MongoStore(conn_id, {"host": place.uri}, place.name)


def phase(folder: Path, source: Address, target: Address, name: str) -> None:
    """Plan, copy, check or purge of every job; exits 0 when the phase is complete."""
    run = Worker(folder, source, target).open()
    try:
        for job in run.task.jobs:
            getattr(run, name)(job.name)
    except DspError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
    sys.exit(0)

"""Runs one phase of a task in a process of its own, to be killed there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dsp_airflow.engine import missing, rollback
from dsp_airflow.engine.errors import DspError
from dsp_airflow.engine.stores.mongodb import leases
from dsp_airflow.undoing import undo_of
from tests.engine.harness import Bench


@dataclass(frozen=True)
class Address:
    """All that a worker needs to know of a database."""

    uri: str


def phase(folder: Path, source: str, target: str, name: str) -> None:
    """Plan, copy, check or purge of every job; exits 0 when the phase is complete."""
    bench = Bench(folder, Address(source), Address(target))
    run = bench.open()
    try:
        for job in run.task.jobs:
            getattr(run, name)(job.name)
    except DspError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
    sys.exit(0)


def few_at_once(folder: Path, source: str, target: str, chunk: int) -> None:
    """Deletes what is missing, so many rows in a transaction."""
    missing.CHUNK = chunk  # type: ignore[misc]
    # What a killed process holds in MongoDB would be waited for.
    leases.TERM = timedelta(seconds=2)  # type: ignore[misc]
    phase(folder, source, target, "delete_missing")


def whole(folder: Path, source: str, target: str, new: bool) -> None:
    """A run from plan to check, a new one or the unfinished one; exits 0 when it is complete."""
    leases.TERM = timedelta(seconds=2)  # type: ignore[misc]
    bench = Bench(folder, Address(source), Address(target))
    try:
        bench.run(new=new)
    except DspError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
    sys.exit(0)


def rolled_back(folder: Path, source: str, target: str, chunk: int) -> None:
    """Undoes the latest run, so many rows in a transaction; exits 0 when it is undone."""
    rollback.CHUNK = chunk  # type: ignore[misc]
    leases.TERM = timedelta(seconds=2)  # type: ignore[misc]
    bench = Bench(folder, Address(source), Address(target))
    try:
        for job in (work := bench.latest()).task.jobs:
            undo_of(work, job.name).do("somebody")
    except DspError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
    sys.exit(0)

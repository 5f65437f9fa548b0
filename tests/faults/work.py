"""Runs one phase of a task in a process of its own, to be killed there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from dsp_airflow.engine.errors import DspError
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


def whole(folder: Path, source: str, target: str, new: bool) -> None:
    """A run from plan to check, a new one or the unfinished one; exits 0 when it is complete."""
    bench = Bench(folder, Address(source), Address(target))
    try:
        bench.run(new=new)
    except DspError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
    sys.exit(0)

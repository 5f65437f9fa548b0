"""Runs phases of an S3 job in a process of its own, to be killed or measured there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from dsp_airflow.engine.errors import DspError
from tests.faults.test_memory import leave_peak
from tests.s3.harness import Archives, Away
from tests.servers.s3 import client_of


@dataclass(frozen=True)
class Where:
    """All that a worker needs to know."""

    folder: Path
    source: str
    endpoint: str
    key: str
    secret: str


def where_of(jobs: Archives) -> Where:
    assert jobs.place is not None
    server = jobs.place.server
    return Where(jobs.folder, jobs.source.uri, server.endpoint, server.key, server.secret)


def opened(where: Where) -> Archives:
    client = client_of(where.endpoint, where.key, where.secret)
    return Archives(where.folder, Away(where.source), Away(), client=client)


def phase(where: Where, name: str) -> None:
    """Plan, copy, check, purge or restore; exits 0 when the phase is complete."""
    jobs = opened(where)
    try:
        if name == "restore":
            jobs.restore(new=False, workers=2)
            return
        run = jobs.open()
        for job in run.task.jobs:
            getattr(run, name)(job.name)
    except DspError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.exit(1)
    sys.exit(0)


def everything(where: Where) -> None:
    """The whole run; leaves the process's peak of resident memory in a file."""
    opened(where).run()
    leave_peak(where.folder)


def restore_measured(where: Where) -> None:
    """Brings everything back; leaves the process's peak of resident memory in a file."""
    opened(where).restore()
    leave_peak(where.folder)

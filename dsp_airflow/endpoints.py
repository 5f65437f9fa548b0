"""Where connections lead, and how the sessions of a step behave there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.tasks import Job
from dsp_airflow.engine.options import SessionOptions, session_name
from dsp_airflow.engine.ports import Store

OpenStore: TypeAlias = Callable[[str], Store]
"""Gives the store of an Airflow connection id."""


def for_step(open_store: OpenStore, task: str, job: Job, step: str) -> OpenStore:
    """The same, with sessions that show task, job and step and wait as long as the job says."""
    options = SessionOptions(
        session_name(task, job.name, step),
        job.timeouts.lock,
        job.timeouts.statement,
        files=isinstance(job, WarmJob | S3Job) and job.gridfs,
    )
    return lambda connection: open_store(connection).having(options)

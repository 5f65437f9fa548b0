"""Which task an operator works on: the one of a task file, or one made of its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsp_airflow.config.loading import load_task
from dsp_airflow.config.messages import in_words
from dsp_airflow.config.tasks import Task
from dsp_airflow.engine.errors import ConfigError


def from_file(file: str) -> Task:
    """The task as the file has it now; a run compares it with what it began with."""
    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"the task file {file} is not there; was it renamed or removed?")
    return load_task(path)


def from_arguments(dag_id: str, job: str, kind: str, arguments: Mapping[str, Any]) -> Task:
    """A task of one job, named after the DAG and the job. ``kind``: warm, s3 or restore."""
    from pydantic import ValidationError

    given = {name: _plain(value) for name, value in arguments.items() if value is not None}
    definition = {
        "name": f"{dag_id}.{job}",
        "jobs": [{"name": job, "type": kind, **given}],
    }
    try:
        return Task.model_validate(definition)
    except ValidationError as error:
        found = in_words(error, f"jobs.0.{kind}.")
        raise ConfigError(f"the arguments of job {job} do not fit together: {found}") from error


def _plain(value: Any) -> Any:
    """Lists for tuples, all the way down: what a task file could have held."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value

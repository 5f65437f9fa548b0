"""What a data engineer writes: task files, their models, their errors, their JSON Schema.

The names below load their modules when they are first used, as YAML, pydantic and sqlglot take
longer to import than most commands take to run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsp_airflow.config.archives import S3Job, S3Target
    from dsp_airflow.config.definition import (
        data_definition,
        data_digest,
        definition_digest,
        normalise,
    )
    from dsp_airflow.config.errors import ConfigProblems, Problem
    from dsp_airflow.config.jobs import Check, ColumnMapping, Source, TableJob, Target, WarmJob
    from dsp_airflow.config.loading import load_task, load_tasks
    from dsp_airflow.config.restores import RestoreJob
    from dsp_airflow.config.tasknames import task_names
    from dsp_airflow.config.tasks import Job, Notify, Once, Task
    from dsp_airflow.config.typenames import TypeName
    from dsp_airflow.config.variables import TimeVariable, resolve_variables
    from dsp_airflow.config.where import Expression, Filter, parse_expression, parse_where

_MODULES = {
    "archives": ("S3Job", "S3Target"),
    "errors": ("ConfigProblems", "Problem"),
    "jobs": ("Check", "ColumnMapping", "Source", "TableJob", "Target", "WarmJob"),
    "loading": ("load_task", "load_tasks"),
    "definition": ("data_definition", "data_digest", "definition_digest", "normalise"),
    "restores": ("RestoreJob",),
    "tasknames": ("task_names",),
    "tasks": ("Job", "Notify", "Once", "Task"),
    "typenames": ("TypeName",),
    "variables": ("TimeVariable", "resolve_variables"),
    "where": ("Expression", "Filter", "parse_expression", "parse_where"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Check",
    "ColumnMapping",
    "ConfigProblems",
    "Expression",
    "Filter",
    "Job",
    "Notify",
    "Once",
    "Problem",
    "RestoreJob",
    "S3Job",
    "S3Target",
    "Source",
    "TableJob",
    "Target",
    "Task",
    "TimeVariable",
    "TypeName",
    "WarmJob",
    "data_definition",
    "data_digest",
    "definition_digest",
    "load_task",
    "load_tasks",
    "normalise",
    "parse_expression",
    "parse_where",
    "resolve_variables",
    "task_names",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)

"""Airflow's pools, one for each connection: how many steps work on a database at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dsp_airflow.config.tasks import Task
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.state.settings import setting, variable

CONNECTIONS = "connections"
"""What ``[dsp] pools`` says where steps go into the pools of their connections."""
PREFIX = "dsp_"
SIZE = 8
"""Slots of a pool where ``[dsp] pool_size`` is not set."""


def are_used() -> bool:
    """Whether steps go into the pools of their connections: ``[dsp] pools``."""
    text = setting("pools")
    if text not in (None, CONNECTIONS):
        name = variable("pools")
        raise ConfigError(f"{name} is {text!r}; it must be {CONNECTIONS}, or not be set")
    return text is not None


def size() -> int:
    """How many slots each pool is to have: ``[dsp] pool_size``."""
    text = setting("pool_size")
    if text is None:
        return SIZE
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100_000):
        name = variable("pool_size")
        raise ConfigError(f"{name} is {text!r}; it must be a number of slots, 1 to 100000")
    return int(text)


def pool_of(connection: str) -> str:
    """The name of a connection's pool."""
    return f"{PREFIX}{connection}"


def pooled(connection: str, workers: int = 1) -> dict[str, Any]:
    """An operator's arguments that put it into the pool of a connection, if pools are used.

    A step that asked for more slots than its pool has would never begin.
    """
    if not are_used():
        return {}
    return {"pool": pool_of(connection), "pool_slots": min(workers, size())}


def connections_of(tasks: Iterable[Task]) -> dict[str, list[str]]:
    """The connections that steps may go into the pools of, each with the names of its tasks."""
    found: dict[str, list[str]] = {}
    for task in tasks:
        ends = {end.connection for job in task.jobs for end in (job.source, job.target)}
        for connection in ends:
            found.setdefault(connection, []).append(task.name)
    return dict(sorted(found.items()))

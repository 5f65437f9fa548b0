"""A task over real databases, driven through the steps, without Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import psycopg.conninfo
import yaml

from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.mongodb.store import MongoStore
from dsp_airflow.engine.stores.mysql.store import MySqlStore
from dsp_airflow.engine.stores.postgres import PostgresStore
from dsp_airflow.opening import latest_run, open_run
from dsp_airflow.state.database import StateDatabase, open_state
from dsp_airflow.state.records import JobSummary, RunSummary
from dsp_airflow.steps import TaskRun


class HasUri(Protocol):
    """A database that can be connected to."""

    @property
    def uri(self) -> str: ...


DB = TypeVar("DB", bound=HasUri)


def store_at(conn_id: str, uri: str, **changed: Any) -> Store:
    """The store of a database's address; ``changed`` is given to the driver."""
    if uri.startswith("mongo:"):
        return _mongo_at(conn_id, uri, **changed)
    if not uri.startswith("mysql:"):
        return PostgresStore(conn_id, {**psycopg.conninfo.conninfo_to_dict(uri), **changed})
    there = urlsplit(uri)
    arguments = {
        "host": there.hostname,
        "port": there.port,
        "user": unquote(there.username or ""),
        "password": unquote(there.password or ""),
        "database": unquote(there.path[1:]),
    }
    return MySqlStore(conn_id, {**arguments, **changed})


def _mongo_at(conn_id: str, uri: str, *, port: int | None = None, **changed: Any) -> Store:
    there = urlsplit(uri)
    where = there.netloc if port is None else f"{there.netloc.rpartition(':')[0]}:{port}"
    address = f"mongodb://{where}/?{there.query}"
    return MongoStore(conn_id, {"host": address, **changed}, unquote(there.path[1:]))


@dataclass
class Bench(Generic[DB]):
    """A folder with a task file and a state database, and two databases to work on."""

    folder: Path
    source: DB
    target: DB
    state: StateDatabase = field(init=False)

    def __post_init__(self) -> None:
        self.state = open_state(f"sqlite:///{self.folder}/state.db", create=True)

    @property
    def file(self) -> Path:
        return self.folder / "task.yaml"

    def store(self, conn_id: str) -> Store:
        database = {"source": self.source, "target": self.target}[conn_id]
        return store_at(conn_id, database.uri)

    def write(self, *jobs: Mapping[str, Any], **task: Any) -> Path:
        self.file.write_text(yaml.safe_dump({"name": "task", "jobs": list(jobs), **task}))
        return self.file

    def job(self, name: str = "copy", table: str = "public.t", **more: Any) -> dict[str, Any]:
        target = more.pop("target", {})
        source = more.pop("source", {})
        return {
            "name": name,
            "type": "warm",
            "source": {"connection": "source", "table": table, **source},
            "target": {"connection": "target", **target},
            **more,
        }

    def open(self, *, new: bool = False) -> TaskRun:
        run = open_run(self.state, load_task(self.file), self.file, self.store, new=new)
        run.begin()
        return run

    def latest(self) -> TaskRun:
        return latest_run(self.state, load_task(self.file), self.store)

    def run(self, *, new: bool = False) -> RunSummary:
        """Plan, copy and check of every job, then system purges."""
        run = self.open(new=new)
        try:
            for job in run.task.jobs:
                run.plan(job.name)
                run.copy(job.name)
                run.check(job.name)
                run.delete_missing(job.name)
                run.swap(job.name)
            for job in run.task.jobs:
                if job.purge == "system":
                    run.purge(job.name)
        except BaseException as error:
            run.finish(error)
            raise
        return run.finish()

    def only(self) -> JobSummary:
        """The single job's counts in the latest run."""
        (job,) = self.latest().summary().jobs
        return job

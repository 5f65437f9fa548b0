"""S3 jobs of one database into one bucket, driven through the steps, without Airflow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsp_airflow.config.loading import load_task
from dsp_airflow.config.rulereader import parse_rules
from dsp_airflow.config.tasks import Task
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.s3 import S3Store
from dsp_airflow.opening import open_run
from dsp_airflow.restoring import Wish, of_run
from dsp_airflow.state.records import JobSummary
from dsp_airflow.steps import TaskRun
from tests.engine.harness import Bench
from tests.servers import Database
from tests.servers.s3 import Place

PART = 5 * 1024 * 1024


@dataclass
class Away:
    """Stands where a second database would: an S3 job has none."""

    uri: str = ""


@dataclass
class Archives(Bench[Any]):
    """As ``Bench``, whose connection ``archive`` is a bucket."""

    place: Place | None = None
    client: Any = None
    """In place of the server's own."""

    def store(self, conn_id: str) -> Store:
        if conn_id != "archive":
            return super().store(conn_id)
        client = self.client or (self.place.client if self.place else None)
        # The same wherever the process is, and whatever stands between.
        found: Any = S3Store(conn_id, "http://archive", lambda: client, part=PART)
        store: Store = found
        return store

    def job(self, name: str = "copy", table: str = "public.t", **more: Any) -> dict[str, Any]:
        assert self.place is not None
        target = {"connection": "archive", "bucket": self.place.name, "prefix": "a/b"}
        return {
            "name": name,
            "type": "s3",
            "source": {"connection": "source", "table": table, **more.pop("source", {})},
            "target": {**target, **more.pop("target", {})},
            **more,
        }

    def restoring(
        self, run: str | None = None, job: str | None = None, *, new: bool = True, **wish: Any
    ) -> TaskRun:
        """A restore of that run (the latest), begun anew or gone on with."""
        return self.going_back(
            of_run(self.state, load_task(self.file), run, job, Wish(**wish), self.store), new=new
        )

    def by_rules(self, where: Any) -> Task:
        """The task that restores what rules choose of the latest run."""
        task = of_run(self.state, load_task(self.file), None, None, Wish(), self.store)
        (job,) = task.jobs
        chosen = job.model_copy(update={"where": parse_rules(where)})
        return task.model_copy(update={"jobs": (chosen,)})

    def going_back(self, task: Task, *, new: bool = True) -> TaskRun:
        """The run of a task that restores."""
        run = open_run(self.state, task, self.file, self.store, new=new)
        run.begin()
        return run

    def restore(
        self, run: str | None = None, job: str | None = None, *, new: bool = True, **wish: Any
    ) -> JobSummary:
        """Plan, copy and check of a restore."""
        return finished(self.restoring(run, job, new=new, **wish))

    def objects(self) -> dict[str, bytes]:
        assert self.place is not None
        return self.place.objects()

    def batches(self) -> list[str]:
        """Keys of the data."""
        return sorted(key for key in self.objects() if "/batch=" in key)

    def manifest(self) -> dict[str, Any]:
        """The only one there is."""
        (found,) = [v for k, v in self.objects().items() if k.endswith("_manifest.json")]
        told: dict[str, Any] = json.loads(found)
        return told


def finished(run: TaskRun) -> JobSummary:
    """Every step of a restore."""
    (job,) = run.task.jobs
    try:
        run.plan(job.name)
        run.copy(job.name)
        run.check(job.name)
    except BaseException as error:
        run.finish(error)
        raise
    (found,) = run.finish().jobs
    return found


def archives(folder: Path, source: Database, place: Place) -> Archives:
    return Archives(folder, source, Away(), place=place)

"""Drills of what a task of the bench archived."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dsp_airflow.config.loading import load_task
from dsp_airflow.opening import open_run
from dsp_airflow.state.records import RunSummary
from dsp_airflow.steps import TaskRun
from tests.s3.harness import Archives


@dataclass
class Drills:
    """A task that tries what another one archived."""

    jobs: Archives

    def write(self, table: str = "public.tried", **job: Any) -> None:
        assert self.jobs.place is not None
        told = {
            "name": "tried",
            "type": "restore",
            "source": {"connection": "archive", "bucket": self.jobs.place.name},
            "target": {"connection": "target", "table": table},
            "drill": {"task": "task", "job": "copy", "percent": 50},
            **job,
        }
        self.file.write_text(yaml.safe_dump({"name": "drill", "jobs": [told]}))

    @property
    def file(self) -> Path:
        return self.jobs.folder / "drill.yaml"

    def begin(self) -> TaskRun:
        task = load_task(self.file)
        run = open_run(self.jobs.state, task, self.file, self.jobs.store, new=True)
        run.begin()
        return run

    def run(self) -> RunSummary:
        run = self.begin()
        try:
            run.plan("tried")
            run.copy("tried")
            run.check("tried")
            run.drop_drill("tried")
        except BaseException as error:
            run.finish(error)
            raise
        return run.finish()

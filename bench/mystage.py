"""A MariaDB server beside the stage's PostgreSQL, and the same table in it."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench import measure
from bench.measure import PeerError, Sample
from bench.stage import ARCHIVE, JOB, Stage, Task
from bench.tables import TABLE
from dsp_airflow.demo.mariadb import ROOT, MariaDBServer
from dsp_airflow.demo.process import HOST

HERE, THERE = "my_source", "my_target"
"""Names of the schemas, and ids of the Airflow connections to them."""
SETTINGS: dict[str, str | int | None] = {
    "innodb_buffer_pool_size": "2G",
    "innodb_log_file_size": "1G",
    "innodb_flush_log_at_trx_commit": 0,
    "innodb_doublewrite": 0,
}
COLUMNS = """
    id bigint PRIMARY KEY, quantity int, code smallint, price decimal(12, 2),
    rate decimal(20, 6), score double, name varchar(80), note text, active tinyint(1),
    born date, made datetime(6), seen timestamp(6) NULL, token char(36), attributes json,
    raw varbinary(64)
"""
ROWS = r"""
SELECT seq,
    IF((seq + 1) % 10 <> 0, seq * 7919 % 2000000000, NULL),
    IF((seq + 2) % 10 <> 0, seq % 32000, NULL),
    IF((seq + 3) % 10 <> 0, (seq % 1000000000) / 100.0, NULL),
    IF((seq + 4) % 10 <> 0, seq * 31.415926 - 1000000, NULL),
    IF((seq + 5) % 10 <> 0, SQRT(seq) / 3, NULL),
    IF((seq + 6) % 10 <> 0, CONCAT('customer ', seq, ' of ', MD5(CONCAT('name', seq))), NULL),
    IF((seq + 7) % 10 <> 0,
        CONCAT('first line\tof row ', seq, '\nsaid "yes" and \'no\', C:\\temp\\',
        seq, ' žluťoučký 漢字 ', REPEAT(MD5(CONCAT('note', seq)), 2)), NULL),
    IF((seq + 8) % 10 <> 0, seq % 3 = 0, NULL),
    IF((seq + 9) % 10 <> 0, DATE'1950-01-01' + INTERVAL seq % 25000 DAY, NULL),
    IF(seq % 10 <> 0, TIMESTAMP'2001-02-03 04:05:06.789012' + INTERVAL seq * 37 SECOND, NULL),
    IF((seq + 1) % 10 <> 5, TIMESTAMP'2010-01-01 00:00:00' + INTERVAL seq * 11 SECOND, NULL),
    IF((seq + 2) % 10 <> 5, INSERT(INSERT(INSERT(INSERT(MD5(CONCAT('token', seq)),
        9, 0, '-'), 14, 0, '-'), 19, 0, '-'), 24, 0, '-'), NULL),
    IF((seq + 3) % 10 <> 5, JSON_OBJECT('n', seq, 'tag', CONCAT('tag-', seq % 100)), NULL),
    IF((seq + 4) % 10 <> 5, UNHEX(REPEAT(MD5(CONCAT('raw', seq)), 2)), NULL)
"""


@dataclass
class MyStage:
    """Where MySQL's legs are measured; both servers' CPU counts."""

    stage: Stage
    server: MariaDBServer
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def run(self, *statements: str) -> Any:
        return self.server.run(*statements)

    def emptied(self, schema: str, table: str = TABLE) -> None:
        created = f"CREATE TABLE {schema}.{table} ({COLUMNS})"
        self.run(f"DROP TABLE IF EXISTS {schema}.{table}", created)

    def require_rows(self, schema: str, rows: int, table: str = TABLE) -> None:
        [(found,)] = self.run(f"SELECT COUNT(*) FROM {schema}.{table}")
        if found != str(rows):
            raise measure.FailedError(f"{schema}.{table} has {found} rows, not {rows}")

    def url(self, schema: str) -> str:
        """As other tools take it."""
        return f"mysql://{ROOT}:{self.server.password}@{HOST}:{self.server.port}/{schema}"

    # Programs

    def client(self, program: str, *arguments: str) -> list[str]:
        login = ["-h", HOST, "-P", str(self.server.port), "-u", ROOT]
        return [found(program), *login, f"--password={self.server.password}", *arguments]

    def dsn(self, **more: str) -> str:
        """As the Percona toolkit takes it."""
        parts = {"h": HOST, "P": str(self.server.port), "u": ROOT, "p": self.server.password}
        return ",".join(f"{key}={value}" for key, value in {**parts, **more}.items())

    def sql(self, statement: str) -> list[str]:
        return self.client("mariadb", "--local-infile=1", "-e", statement)

    def peer(self, *commands: Sequence[str]) -> Sample:
        """A pipeline of another tool's programs."""
        try:
            return self.stage.run_programs(*map(list, commands))
        except measure.FailedError as error:
            raise PeerError(str(error)) from error

    # Our own steps

    def task(self, source: str, target: str, table: str = TABLE, **job: Any) -> Task:
        there = {"connection": target, "table": _place(target, table)}
        return self._task(source, table, {"type": "warm", "target": there, **job})

    def archive_task(self, bucket: str, **job: Any) -> Task:
        there = {"connection": ARCHIVE, "bucket": bucket, "prefix": TABLE, "format": "parquet"}
        return self._task(HERE, TABLE, {"type": "s3", "target": there, **job})

    def _task(self, source: str, table: str, job: dict[str, Any]) -> Task:
        file = self.stage.folder / f"bench_my_{next(self._numbers)}.yaml"
        made = {
            "name": JOB,
            "source": {"connection": source, "table": _place(source, table)},
            **job,
        }
        # JSON is YAML too.
        file.write_text(json.dumps({"name": file.stem, "jobs": [made]}))
        return Task(self.stage, file, f"run_{file.stem}")

    def copied(self, source: str, target: str, **job: Any) -> tuple[Sample, Task]:
        """Plan and copy; the copy is what is measured."""
        task = self.task(source, target, **job)
        task.step("plan")
        sample, counts = task.step("copy")
        if counts["rows_written"] != self.stage.rows:
            raise measure.FailedError(f"{counts['rows_written']} rows were written")
        return sample, task


def found(program: str) -> str:
    """Where a program is installed; ``PeerError`` if it is not."""
    path = shutil.which(program)
    if path is None:
        raise PeerError(f"{program} is not installed: scripts/system-packages bench")
    return path


def _place(connection: str, table: str) -> str:
    return f"{connection}.{table}" if connection in (HERE, THERE) else f"public.{table}"


@contextmanager
def served(stage: Stage) -> Iterator[MyStage]:
    """The server, with the table filled in the one schema and the other one empty."""
    with MariaDBServer(SETTINGS) as server:
        server.run(f"CREATE DATABASE {HERE}", f"CREATE DATABASE {THERE}")
        for name in (HERE, THERE):
            stage.env[f"AIRFLOW_CONN_{name.upper()}"] = server.uri(name)
        stage.beside.append(server.pid)
        stage.connections.append(HERE)
        place = MyStage(stage, server)
        place.emptied(HERE)
        place.run(f"INSERT INTO {HERE}.{TABLE} {ROWS} FROM {HERE}.seq_1_to_{stage.rows}")
        place.require_rows(HERE, stage.rows)
        try:
            yield place
        finally:
            stage.beside.clear()
            stage.connections.remove(HERE)
            for name in (HERE, THERE):
                del stage.env[f"AIRFLOW_CONN_{name.upper()}"]

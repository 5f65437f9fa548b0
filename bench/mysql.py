"""The legs of MySQL: MariaDB to itself, to and from PostgreSQL, and the purge."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bench import measure
from bench.measure import Contest, PeerError, Sample
from bench.report import Report
from bench.stage import JOB, SOURCE, TARGET, Stage, Task
from bench.tables import EATEN, TABLE
from bench.tables import create as create_postgres
from dsp_airflow.demo.mariadb import ROOT, MariaDBServer
from dsp_airflow.demo.servers import HOST

MIN_OF_FILES = 1.25
MIN_OF_DUMP = 1.9
MIN_OF_CSV = 0.95
MIN_OF_PGLOADER = 4.5
MIN_OF_ARCHIVER = 1.6

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
    """A MariaDB server beside the stage's PostgreSQL."""

    stage: Stage
    server: MariaDBServer
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def run(self, *statements: str) -> Any:
        return self.server.run(*statements)

    def emptied(self, schema: str, table: str = TABLE) -> None:
        self.run(f"DROP TABLE IF EXISTS {schema}.{table}", self.created(schema, table))

    def created(self, schema: str, table: str = TABLE) -> str:
        return f"CREATE TABLE {schema}.{table} ({COLUMNS})"

    def require_rows(self, schema: str, rows: int, table: str = TABLE) -> None:
        [(found,)] = self.run(f"SELECT COUNT(*) FROM {schema}.{table}")
        if found != str(rows):
            raise measure.FailedError(f"{schema}.{table} has {found} rows, not {rows}")

    def client(self, program: str, *arguments: str) -> list[str]:
        path = shutil.which(program)
        if path is None:
            raise PeerError(f"{program} is not installed")
        login = ["-h", HOST, "-P", str(self.server.port), "-u", ROOT]
        return [path, *login, f"-p{self.server.password}", *arguments]

    def sql(self, statement: str) -> list[str]:
        return self.client("mariadb", "--local-infile=1", "-e", statement)

    def programs(self, *commands: Sequence[str]) -> Sample:
        return measure.programs(*commands, env=self.stage.env)

    def task(self, source: str, target: str, table: str = TABLE, **job: Any) -> Task:
        file = self.stage.folder / f"bench_my_{next(self._numbers)}.yaml"
        made = {
            "name": JOB,
            "type": "warm",
            "source": {"connection": source, "table": _place(source, table)},
            "target": {"connection": target, "table": _place(target, table)},
            **job,
        }
        # JSON is YAML too.
        file.write_text(json.dumps({"name": file.stem, "jobs": [made]}))
        return Task(self.stage, file, f"run_{file.stem}")


def _place(connection: str, table: str) -> str:
    return f"{connection}.{table}" if connection in (HERE, THERE) else f"public.{table}"


def measure_mysql(stage: Stage, report: Report) -> None:
    with _served(stage) as place:
        _copy(place, report)
        _across(place, report)
        _purge(place, report)


@contextmanager
def _served(stage: Stage) -> Iterator[MyStage]:
    with MariaDBServer(SETTINGS) as server:
        server.run(f"CREATE DATABASE {HERE}", f"CREATE DATABASE {THERE}")
        for name in (HERE, THERE):
            stage.env[f"AIRFLOW_CONN_{name.upper()}"] = server.uri(name)
        place = MyStage(stage, server)
        place.emptied(HERE)
        server.run(f"INSERT INTO {HERE}.{TABLE} {ROWS} FROM {HERE}.seq_1_to_{stage.rows}")
        place.require_rows(HERE, stage.rows)
        try:
            yield place
        finally:
            for name in (HERE, THERE):
                del stage.env[f"AIRFLOW_CONN_{name.upper()}"]


def _ours(place: MyStage, source: str, target: str, **job: Any) -> Sample:
    task = place.task(source, target, **job)
    task.step("plan")
    sample, counts = task.step("copy")
    if counts["rows_written"] != place.stage.rows:
        raise measure.FailedError(f"{counts['rows_written']} rows were written")
    return sample


def _copy(place: MyStage, report: Report) -> None:
    rows = place.stage.rows
    ours, two = Contest("copy", rows), Contest("copy, 2 workers", rows)
    files = Contest("SELECT INTO OUTFILE, then LOAD DATA", rows)
    dump = Contest("mysqldump to mysql", rows)
    mydumper = Contest("mydumper, then myloader", rows)

    def empty(act: Callable[[], Sample]) -> Callable[[], Sample]:
        def acted() -> Sample:
            place.emptied(THERE)
            sample = act()
            place.require_rows(THERE, rows)
            return sample

        return acted

    measure.alternate(
        place.stage.rounds,
        [
            (ours, empty(lambda: _ours(place, HERE, THERE, check="none"))),
            (files, empty(lambda: _files(place))),
            (dump, empty(lambda: _dump(place))),
            (mydumper, empty(lambda: _mydumper(place))),
            (two, empty(lambda: _ours(place, HERE, THERE, check="none", workers=2))),
        ],
    )
    report.runs("mysql", ours, two, files, dump, mydumper)
    report.rates("mysql", "MariaDB to MariaDB, 1 worker", ours, files, MIN_OF_FILES)
    report.rates("mysql", "MariaDB to MariaDB, 2 workers", two, files)
    report.rates("mysql", "MariaDB to MariaDB, 1 worker", ours, dump, MIN_OF_DUMP)
    report.rates("mysql", "MariaDB to MariaDB, 1 worker", ours, mydumper)


def _files(place: MyStage) -> Sample:
    """By a file that the server writes and reads: no client takes part."""
    file = place.server.folder / "bench.tsv"
    file.unlink(missing_ok=True)
    out = place.sql(f"SELECT * INTO OUTFILE '{file}' FROM {HERE}.{TABLE}")
    load = place.sql(f"LOAD DATA INFILE '{file}' INTO TABLE {THERE}.{TABLE}")
    first, second = place.programs(out), place.programs(load)
    file.unlink()
    return Sample(first.seconds + second.seconds, first.cpu + second.cpu)


def _dump(place: MyStage) -> Sample:
    dump = place.client("mariadb-dump", "--no-create-info", "--single-transaction", HERE, TABLE)
    return place.programs(dump, place.client("mariadb", THERE))


def _mydumper(place: MyStage) -> Sample:
    folder = place.stage.folder / "mydumper"
    shutil.rmtree(folder, ignore_errors=True)
    dump = place.client(
        "mydumper", "-B", HERE, "-T", f"{HERE}.{TABLE}", "-o", str(folder), "-t", "2"
    )
    load = place.client("myloader", "-B", THERE, "-d", str(folder), "-o", "-t", "2")
    first, second = place.programs(dump), place.programs(load)
    return Sample(first.seconds + second.seconds, first.cpu + second.cpu)


def _across(place: MyStage, report: Report) -> None:
    stage, rows = place.stage, place.stage.rows
    there, back = Contest("PostgreSQL to MariaDB", rows), Contest("MariaDB to PostgreSQL", rows)
    csv = Contest("psql COPY CSV to LOAD DATA", rows)
    loader = Contest("pgloader", rows)

    def to_mysql() -> Sample:
        place.emptied(THERE)
        stage.settle()
        sample = _ours(place, SOURCE, THERE, check="none")
        place.require_rows(THERE, rows)
        return sample

    def by_csv() -> Sample:
        place.emptied(THERE)
        stage.settle()
        sample = place.programs(
            stage.psql(SOURCE, "--command", f"COPY ({POSTGRES_AS_CSV}) TO STDOUT {CSV}"),
            place.sql(LOAD.format(table=f"{THERE}.{TABLE}")),
        )
        place.require_rows(THERE, rows)
        return sample

    def to_postgres() -> Sample:
        stage.execute(TARGET, f"DROP TABLE IF EXISTS {TABLE}")
        stage.settle()
        sample = _ours(place, HERE, TARGET, check="none")
        stage.require_rows(TARGET, TABLE, rows)
        return sample

    measure.alternate(
        stage.rounds,
        [
            (there, to_mysql),
            (csv, by_csv),
            (back, to_postgres),
            (loader, lambda: _pgloader(place)),
        ],
    )
    stage.execute(TARGET, create_postgres())
    report.runs("mysql", there, csv, back, loader)
    report.rates("mysql", "PostgreSQL to MariaDB, 1 worker", there, csv, MIN_OF_CSV)
    report.rates("mysql", "MariaDB to PostgreSQL, 1 worker", back, loader, MIN_OF_PGLOADER)


POSTGRES_AS_CSV = (
    "SELECT id, quantity, code, price, rate, score, name, note, active::int, born, made, "
    f"seen AT TIME ZONE 'UTC', token, attributes, encode(raw, 'hex') FROM {TABLE}"
)
CSV = "(FORMAT csv, NULL '\\N', ESCAPE '\\', FORCE_QUOTE *)"
LOAD = (
    "SET time_zone = '+00:00'; LOAD DATA LOCAL INFILE '/dev/stdin' INTO TABLE {table} "
    "CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' ENCLOSED BY '\"' (id, quantity, code, price, "
    "rate, score, name, note, active, born, made, seen, token, attributes, @raw) "
    "SET raw = UNHEX(@raw)"
)


def _pgloader(place: MyStage) -> Sample:
    path = shutil.which("pgloader")
    if path is None:
        raise PeerError("pgloader is not installed")
    stage = place.stage
    stage.execute(TARGET, f"DROP SCHEMA IF EXISTS {HERE} CASCADE")
    stage.settle()
    source = f"mysql://{ROOT}:{place.server.password}@{HOST}:{place.server.port}/{HERE}"
    try:
        sample = place.programs([path, source, stage.server.uri(TARGET)])
    except measure.FailedError as error:
        raise PeerError(f"pgloader: {error}") from error
    return sample


def _purge(place: MyStage, report: Report) -> None:
    rows = place.stage.rows
    ours, unsafe = Contest("purge", rows), Contest("DELETE by key range, unproved", rows)
    archiver = Contest("pt-archiver --bulk-delete", rows)
    place.emptied(THERE)
    place.run(f"INSERT INTO {THERE}.{TABLE} SELECT * FROM {HERE}.{TABLE}")

    def filled() -> None:
        for schema in (HERE, THERE):
            place.emptied(schema, EATEN)
        place.run(f"INSERT INTO {HERE}.{EATEN} SELECT * FROM {HERE}.{TABLE}")

    def proved() -> Sample:
        filled()
        task = place.task(HERE, THERE, EATEN, purge="system", check={"percent": 10})
        for name in ("plan", "copy", "check"):
            task.step(name)
        sample, counts = task.step("purge")
        if counts["rows_purged"] != rows:
            raise measure.FailedError(f"{counts['rows_purged']} rows were purged")
        return sample

    def unproved() -> Sample:
        filled()
        size = math.ceil(rows / max(1, rows // 100_000))
        script = place.stage.folder / "purge.sql"
        ranges = range(0, rows, size)
        lines = [f"DELETE FROM {EATEN} WHERE id > {n} AND id <= {n + size};" for n in ranges]
        script.write_text("\n".join(lines))
        return place.programs([*place.client("mariadb", HERE), "-e", f"source {script}"])

    measure.alternate(
        place.stage.rounds,
        [(unsafe, unproved), (ours, proved), (archiver, lambda: _archiver(place, filled))],
    )
    report.runs("mysql", unsafe, ours, archiver)
    report.rates("mysql", "purge, every row proved", ours, unsafe)
    report.rates("mysql", "purge, every row proved", ours, archiver, MIN_OF_ARCHIVER)


def _archiver(place: MyStage, filled: Callable[[], None]) -> Sample:
    path = shutil.which("pt-archiver")
    if path is None:
        raise PeerError("pt-archiver is not installed")
    filled()
    source = f"h={HOST},P={place.server.port},u={ROOT},p={place.server.password},D={HERE},t={EATEN}"
    command = [path, "--source", source, "--purge", "--where", "1=1", "--bulk-delete"]
    try:
        return place.programs([*command, "--limit", "10000", "--commit-each", "--no-check-charset"])
    except measure.FailedError as error:
        raise PeerError(f"pt-archiver: {error}") from error

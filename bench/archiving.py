"""The archive leg: tables into files on an S3 server, read back, purged, and restored.

The server is rclone's, which serves a folder of this machine; all contestants that write to S3
use it.
"""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench import measure, peers, tables
from bench.copying import relayed
from bench.measure import Contest, FailedError, Sample
from bench.purging import unproved
from bench.report import Report
from bench.stage import ARCHIVE, SOURCE, Stage, Task
from bench.tables import EATEN, LARGE, TABLE
from tests.servers.s3 import S3Server, fresh_bucket

MIN_OF_READ = 0.5
MIN_OF_LOCAL = 0.8
MIN_OF_DLT = 2.5
MIN_OF_SQL_TO_S3 = 8
MAX_WHOLE = 400
FEW_ROWS = 100_000
"""For the peers."""
TEXTUAL = (
    "id, quantity, code, price, rate, score, name, note, active, born, made, seen, token, "
    "attributes, encode(raw, 'hex') AS raw"
)
LARGE_ROWS = 500
TEXTS = ("csv", "jsonl")
TEXT_ROWS = 500_000


def measure_archive(stage: Stage, report: Report, large_rows: int = LARGE_ROWS) -> None:
    with served(stage) as server:
        _written(stage, report, server)
        _proved(stage, report, server)
        _texts(stage, report, server)
        _wide(stage, report, server, large_rows)


@contextmanager
def served(stage: Stage) -> Iterator[S3Server]:
    """An S3 server, and our connection to it."""
    with S3Server("rclone") as server:
        place = fresh_bucket(server)
        name = f"AIRFLOW_CONN_{ARCHIVE.upper()}"
        stage.env[name] = place.airflow_connection
        try:
            yield server
        finally:
            del stage.env[name]


def _written(stage: Stage, report: Report, server: S3Server) -> None:
    rows, few = stage.rows, min(FEW_ROWS, stage.rows)
    stage.execute(SOURCE, tables.create(tables.FEW))
    stage.execute(SOURCE, tables.fill(few, tables.FEW))
    read = Contest("psql COPY to /dev/null, binary", rows)
    ours, planned = Contest("archive", rows), Contest("plan and archive", rows)
    sampled, two = Contest("archive, digest of 10 %", rows), Contest("archive, 2 workers", rows)
    local = Contest("the same files on a local disk", rows)
    dlt = Contest(f"dlt into a local folder, {few:,} rows", few)
    plain = Contest(f"SqlToS3Operator, Parquet, {few:,} rows", few)
    write = functools.partial(_ours, stage, server)
    measure.alternate(
        stage.rounds,
        [
            (read, lambda: _read(stage)),
            (ours, lambda: write(both=planned, check="none")),
            (local, lambda: _local(stage, server)),
            (two, lambda: write(check="none", workers=2)),
            (sampled, lambda: write(check={"percent": 10})),
            (dlt, lambda: _dlt(stage, few)),
            (plain, lambda: _sql_to_s3(stage, server, few)),
        ],
    )
    report.runs("archive", read, ours, planned, local, two, sampled, dlt, plain)
    report.rates("archive", "to S3 as Parquet, 1 worker", ours, read, MIN_OF_READ)
    report.rates("archive", "plan and archive", planned, read)
    report.rates("archive", "to S3, digest of 10 % of the batches (the default)", sampled, read)
    report.rates("archive", "to S3, 2 workers", two, read)
    report.rates("archive", "the same files on a local disk", local, read, MIN_OF_READ)
    report.rates("archive", "to S3 as Parquet, 1 worker", ours, local, MIN_OF_LOCAL)
    report.rates("archive", "to S3 as Parquet, 1 worker", ours, dlt, MIN_OF_DLT)
    report.rates("archive", "to S3 as Parquet, 1 worker", ours, plain, MIN_OF_SQL_TO_S3)
    _memory(report, f"archive of {rows:,} rows", ours)
    for contest in (dlt, plain):
        if contest.whole_mb is not None:
            told = f"{contest.whole_mb:.0f} MB"
            report.note("archive", "memory of the whole process", "", contest.name, told)


def _memory(report: Report, what: str, contest: Contest) -> None:
    """Of all that the step needs, Airflow's modules included."""
    whole = contest.whole_mb or 0
    report.limit("archive", f"memory of the whole process: {what}", whole, "MB", MAX_WHOLE)


def _read(stage: Stage) -> Sample:
    stage.settle()
    return stage.run_programs(
        stage.psql(SOURCE, "--command", f"COPY {TABLE} TO STDOUT (FORMAT binary)")
    )


@contextmanager
def bucket_of(server: S3Server) -> Iterator[str]:
    """A fresh bucket, whose objects do not stay."""
    name = fresh_bucket(server).name
    try:
        yield name
    finally:
        shutil.rmtree(server.data / name)


def _ours(stage: Stage, server: S3Server, *, both: Contest | None = None, **job: Any) -> Sample:
    """The archive step; ``both`` gets it together with the plan."""
    stage.settle()
    with bucket_of(server) as bucket:
        task = stage.archive_task(bucket, **job)
        first, _ = task.step("plan", s3=ARCHIVE)
        second, counts = task.step("archive", s3=ARCHIVE)
        _require(counts, "rows_written", stage.rows)
        require_files(server.data / bucket, stage.rows)
        if both is not None:
            seconds, cpu = first.seconds + second.seconds, first.cpu + second.cpu
            both.add(Sample(seconds, cpu, server=(first.server or 0) + (second.server or 0)))
        return second


def _require(counts: dict[str, Any], name: str, rows: int) -> None:
    if counts[name] != rows:
        raise FailedError(f"{name} is {counts[name]}, not {rows}")


def require_files(folder: Path, rows: int) -> None:
    """``FailedError`` unless the Parquet files there hold so many rows together."""
    found = sum(pq.read_metadata(path).num_rows for path in folder.rglob("*.parquet"))
    if found != rows:
        raise FailedError(f"{found} of {rows} rows stand in the files of {folder}")


def _local(stage: Stage, server: S3Server) -> Sample:
    """What the archive step reads and encodes, batch by batch, into files beside the state."""
    stage.settle()
    folder = stage.folder / "local"
    folder.mkdir()
    try:
        with bucket_of(server) as bucket:
            task = stage.archive_task(bucket, check="none")
            task.step("plan", s3=ARCHIVE)
            sample, _ = task.step("archive_locally", s3=ARCHIVE, folder=str(folder))
            require_files(folder, stage.rows)
    finally:
        shutil.rmtree(folder)
    return sample


def _dlt(stage: Stage, rows: int) -> Sample:
    folder = stage.folder / "dlt"
    folder.mkdir()
    try:
        sample = peers.dlt_files(stage, tables.FEW, folder)
        try:
            require_files(folder / "dlt_data" / tables.FEW, rows)
        except FailedError as error:
            raise measure.PeerError(str(error)) from error
    finally:
        shutil.rmtree(folder)
    return sample


def _sql_to_s3(stage: Stage, server: S3Server, rows: int) -> Sample:
    stage.settle()
    with bucket_of(server) as bucket:
        arguments = {
            # Of bytes, pandas makes no column that it could write.
            "query": f"SELECT {TEXTUAL} FROM {tables.FEW}",
            "s3_bucket": bucket,
            "s3_key": "bench.parquet",
            "sql_conn_id": SOURCE,
            "aws_conn_id": ARCHIVE,
            "file_format": "parquet",
        }
        sample, _ = stage.run_step({"step": "sql_to_s3", "arguments": arguments, "s3": ARCHIVE})
        require_files(server.data / bucket, rows)
    return sample


# Read back, purged, and restored


def _proved(stage: Stage, report: Report, server: S3Server) -> None:
    rows = stage.rows
    read = Contest("psql COPY to /dev/null, binary", rows)
    check, purge = Contest("check of 100 %", rows), Contest("purge", rows)
    delete = Contest("DELETE by key range, unproved", rows)
    back, relay = Contest("restore", rows), Contest("psql COPY to psql COPY, binary", rows)
    size = [rows]

    def ours() -> Sample:
        _eaten(stage)
        with bucket_of(server) as bucket:
            task = stage.archive_task(bucket, EATEN, check={"percent": 100}, purge="system")
            _, planned = task.step("plan", s3=ARCHIVE)
            size[0] = math.ceil(rows / planned["batches"])
            found = _steps(stage, task, rows)
            stage.require_rows(SOURCE, EATEN, 0)
            back.add(_restored(stage, server, bucket))
        check.add(found["check"])
        return found["purge"]

    measure.alternate(
        stage.rounds,
        [
            (purge, ours),
            (read, lambda: _read(stage)),
            (delete, lambda: unproved(stage, size[0])),
            (relay, lambda: relayed(stage)),
        ],
    )
    report.runs("archive", read, check, purge, delete, back, relay)
    report.rates("archive", "check of 100 %, read back from S3", check, read)
    what = f"purge, every object read back twice, {size[0]:,} rows a batch"
    report.rates("archive", what, purge, delete)
    report.rates("archive", "restore of what was purged", back, relay)
    _memory(report, f"check of {rows:,} rows", check)
    _memory(report, f"purge of {rows:,} rows", purge)
    _memory(report, f"restore of {rows:,} rows", back)


def _eaten(stage: Stage) -> None:
    """A table to be purged."""
    stage.execute(SOURCE, tables.create(EATEN))
    stage.execute(SOURCE, f"INSERT INTO {EATEN} SELECT * FROM {TABLE} ORDER BY id")


def _restored(stage: Stage, server: S3Server, bucket: str) -> Sample:
    """By the manifest alone, into the table that was purged."""
    folder = server.data / bucket
    (manifest,) = folder.rglob("_manifest.json")
    task = stage.restore_task(bucket, str(manifest.relative_to(folder)), EATEN)
    stage.settle()
    task.step("plan", s3=ARCHIVE)
    sample, counts = task.step("restore", s3=ARCHIVE)
    _require(counts, "rows_written", stage.rows)
    stage.require_rows(SOURCE, EATEN, stage.rows)
    return sample


def _steps(stage: Stage, task: Task, rows: int, last: str = "purge") -> dict[str, Sample]:
    """From the archive on."""
    wanted = {"archive": "rows_written", "check": "rows_checked", "purge": "rows_purged"}
    found: dict[str, Sample] = {}
    for name, counted in wanted.items():
        stage.settle()
        found[name], counts = task.step(name, s3=ARCHIVE)
        _require(counts, counted, rows)
        if name == last:
            break
    return found


def _texts(stage: Stage, report: Report, server: S3Server) -> None:
    """CSV and JSON lines, of fewer rows."""
    rows = min(TEXT_ROWS, stage.rows)
    read = Contest("psql COPY to /dev/null, binary", stage.rows)
    writes = {kind: Contest(f"archive as {kind}", rows) for kind in TEXTS}
    checks = {kind: Contest(f"check of {kind}", rows) for kind in TEXTS}

    def ours(kind: str) -> Sample:
        with bucket_of(server) as bucket:
            job: dict[str, Any] = {"where": f"id <= {rows}", "check": {"percent": 100}}
            task = stage.archive_task(bucket, file_format=kind, **job)
            task.step("plan", s3=ARCHIVE)
            found = _steps(stage, task, rows, last="check")
        checks[kind].add(found["check"])
        return found["archive"]

    entries = [(writes[kind], functools.partial(ours, kind)) for kind in TEXTS]
    measure.alternate(stage.rounds, [(read, lambda: _read(stage)), *entries])
    report.runs("archive", read, *writes.values(), *checks.values())
    for kind in TEXTS:
        what = f"to S3 as {kind} with digests of 100 %, {rows:,} rows"
        report.rates("archive", what, writes[kind], read)
        report.rates("archive", f"check of 100 %, {kind}", checks[kind], read)


def _wide(stage: Stage, report: Report, server: S3Server, rows: int) -> None:
    """Rows of 1 MiB that do not compress: what matters is the memory of our process."""
    read = Contest("psql COPY to /dev/null, binary", rows)
    contests = {name: Contest(name, rows) for name in ("archive", "check", "purge")}

    def ours() -> Sample:
        _filled(stage, rows)
        with bucket_of(server) as bucket:
            task = stage.archive_task(bucket, LARGE, check={"percent": 100}, purge="system")
            task.step("plan", s3=ARCHIVE)
            found = _steps(stage, task, rows)
        for name in ("check", "purge"):
            contests[name].add(found[name])
        return found["archive"]

    def theirs() -> Sample:
        _filled(stage, rows)
        command = f"COPY {LARGE} TO STDOUT (FORMAT binary)"
        return stage.run_programs(stage.psql(SOURCE, "--command", command))

    measure.alternate(stage.rounds, [(read, theirs), (contests["archive"], ours)])
    report.runs("archive", read, *contests.values())
    what = f"{rows} rows of 1 MiB to S3 as Parquet, 1 worker"
    report.rates("archive", what, contests["archive"], read)
    for name, contest in contests.items():
        _memory(report, f"{name} of {rows} rows of 1 MiB", contest)


def _filled(stage: Stage, rows: int) -> None:
    stage.execute(SOURCE, tables.create_large("bytea"))
    stage.execute(SOURCE, tables.fill_random(rows))
    stage.settle()

"""MariaDB into Parquet, on a local disk and on S3."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench import measure
from bench.archiving import bucket_of, require_files, served
from bench.measure import Contest, PeerError, Sample
from bench.mystage import HERE, MyStage
from bench.report import Report
from bench.stage import ARCHIVE
from bench.tables import TABLE
from tests.servers.s3 import S3Server

MIN_OF_READY = 0.4
PANDAS_ROWS = 20_000
PLAIN = (
    "id, quantity, code, price, rate, score, name, note, active, born, made, seen, token, "
    "attributes, HEX(raw) AS raw"
)


def measure_files(place: MyStage, report: Report) -> None:
    rows, few = place.stage.rows, min(PANDAS_ROWS, place.stage.rows)
    local = Contest("files on a local disk", rows)
    ready = Contest("the same rows, Arrow already, written", rows)
    archive = Contest("archive", rows)
    pandas = Contest(f"SqlToS3Operator, Parquet, {few:,} rows", few)
    with served(place.stage) as server:
        measure.alternate(
            place.stage.rounds,
            [
                (ready, lambda: _locally(place, server, "write_ready")),
                (local, lambda: _locally(place, server, "archive_locally")),
                (archive, lambda: _archive(place, server)),
                (pandas, lambda: _sql_to_s3(place, server, few)),
            ],
        )
    report.runs("mysql", local, ready, archive, pandas)
    report.rates("mysql", "MariaDB to Parquet, local disk", local, ready, MIN_OF_READY)
    report.rates("mysql", "MariaDB to Parquet on S3", archive, ready)
    report.rates("mysql", "MariaDB to Parquet on S3", archive, pandas)


@contextmanager
def _folder(place: MyStage) -> Iterator[Path]:
    folder = place.stage.folder / "local"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _locally(place: MyStage, server: S3Server, step: str) -> Sample:
    with _folder(place) as folder, bucket_of(server) as bucket:
        task = place.archive_task(bucket, check="none")
        task.step("plan", s3=ARCHIVE)
        sample, _ = task.step(step, s3=ARCHIVE, folder=str(folder))
        require_files(folder, place.stage.rows)
    # What the server did for rows that were read before the measurement is no part of it.
    return replace(sample, server=None) if step == "write_ready" else sample


def _archive(place: MyStage, server: S3Server) -> Sample:
    with bucket_of(server) as bucket:
        task = place.archive_task(bucket, check="none")
        task.step("plan", s3=ARCHIVE)
        sample, _ = task.step("archive", s3=ARCHIVE)
        require_files(server.data / bucket, place.stage.rows)
    return sample


def _sql_to_s3(place: MyStage, server: S3Server, rows: int) -> Sample:
    with bucket_of(server) as bucket:
        arguments = {
            "query": f"SELECT {PLAIN} FROM {TABLE} WHERE id <= {rows}",
            "s3_bucket": bucket,
            "s3_key": "bench.parquet",
            "sql_conn_id": HERE,
            "aws_conn_id": ARCHIVE,
            "file_format": "parquet",
        }
        spec = {"step": "sql_to_s3", "arguments": arguments, "s3": ARCHIVE}
        try:
            sample, _ = place.stage.run_step(spec)
            require_files(server.data / bucket, rows)
        except measure.FailedError as error:
            raise PeerError(f"SqlToS3Operator: {str(error)[-300:]}") from error
    return sample

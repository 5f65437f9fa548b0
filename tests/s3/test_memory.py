"""Memory depends on what is in flight, not on the table: rows of 1 MB below 400 MB."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.s3.harness import archives
from tests.s3.test_path import ids
from tests.s3.work import everything, where_of
from tests.servers import Database
from tests.servers.s3 import S3Server, fresh_bucket
from tests.share import full, share

ROWS = share(10_000, 200)
MB = 1_000_000
LIMIT = 400 * 1024
"""KiB, of the whole process."""
processes = multiprocessing.get_context("spawn")


def random_bytes(database: Database) -> None:
    """No compression makes them smaller, in the database or in a file."""
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v bytea)")
    statement = "COPY t FROM STDIN (FORMAT binary)"
    with database.connect() as connection, connection.cursor().copy(statement) as copy:
        copy.set_types(["int4", "bytea"])
        for n in range(ROWS):
            copy.write_row((n, os.urandom(MB)))


def long_texts(database: Database) -> None:
    """A few thousand times as large as they are on the way."""
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        f"INSERT INTO t SELECT n, repeat(md5(n::text), {MB // 32}) "
        f"FROM generate_series(1, {ROWS}) n",
    )


KINDS = [
    *(("parquet", random_bytes), ("jsonl", long_texts), ("csv", random_bytes)),
    *(("parquet", long_texts), ("jsonl", random_bytes), ("csv", long_texts)),
]


@pytest.mark.share
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "fill"), KINDS if full() else KINDS[:2])
def test_large_rows(
    tmp_path: Path, pg18_db: Database, rclone: S3Server, name: str, fill: Callable[[Database], None]
) -> None:
    """From plan to purge, whatever the format."""
    jobs = archives(tmp_path, pg18_db, fresh_bucket(rclone))
    fill(pg18_db)
    jobs.write(
        jobs.job(check={"percent": 100}, purge="system", target={"format": name}, batch_size=150)
    )
    process = processes.Process(target=everything, args=(where_of(jobs),))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert ids(jobs) == []
    peak = int((jobs.folder / "peak").read_text())
    print(f"{name}, {fill.__name__}: {peak / 1024:.0f} MiB")  # noqa: T201
    assert peak < LIMIT

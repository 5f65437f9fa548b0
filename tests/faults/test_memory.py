"""Memory depends on what is in flight, not on the table: rows of 1 MB below 256 MiB."""

from __future__ import annotations

import multiprocessing
import re
from pathlib import Path

import pytest

from tests.engine.harness import Bench
from tests.faults.work import Address
from tests.servers import Database
from tests.share import share

ROWS = share(10_000, 300)
LIMIT = 256 * 1024
"""KiB."""
processes = multiprocessing.get_context("spawn")


def everything(folder: Path, source: str, target: str) -> None:
    """The whole run; leaves the process's peak of resident memory in a file."""
    Bench(folder, Address(source), Address(target)).run()
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    (folder / "peak").write_text(peak[1])


@pytest.mark.share
@pytest.mark.timeout(3000)
def test_large_rows(bench: Bench[Database]) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        f"INSERT INTO t SELECT n, repeat(md5(n::text), 32768) FROM generate_series(1, {ROWS}) n",
    )
    bench.write(bench.job(check={"percent": 100}, purge="system"))
    process = processes.Process(
        target=everything, args=(bench.folder, bench.source.uri, bench.target.uri)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    job = bench.only()
    assert (job.rows_written, job.rows_checked, job.rows_purged) == (ROWS, ROWS, ROWS)
    assert int((bench.folder / "peak").read_text()) < LIMIT
